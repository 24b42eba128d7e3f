<?php
/** The monotonic clock in seconds, the same in all processes of this machine. */

namespace GearmanBridge;

final class Clock
{
    public static function now(): float
    {
        return \hrtime(true) / 1e9;
    }
}
