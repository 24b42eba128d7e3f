<?php
/** Replaces PHP's Gearman extension where it is not installed, so that type declarations and constants still work. */

if (!class_exists('GearmanJob', false)) {
    class GearmanJob
    {
    }
}
foreach (['GEARMAN_SUCCESS' => 0, 'GEARMAN_WORK_EXCEPTION' => 23, 'GEARMAN_WORK_FAIL' => 24] as $name => $code) {
    if (!defined($name)) {
        define($name, $code);
    }
}
unset($name, $code);
