<?php
/** Stands in for PHP's Gearman extension where that is not installed: type declarations and constants go on working. */

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
