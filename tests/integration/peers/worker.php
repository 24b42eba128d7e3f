<?php
// A worker in PHP (libgearman underneath): `php worker.php PORT PREFIX COUNT` serves COUNT jobs of the functions
// PREFIX_reverse, PREFIX_steps, PREFIX_fail and PREFIX_throw, and ends. It prints nothing.

[, $port, $prefix, $count] = $argv;

$served = 0;
$functions = [
    'reverse' => fn (GearmanJob $job): string => strrev($job->workload()),
    'steps' => function (GearmanJob $job): string {
        $job->sendStatus(1, 2);
        $job->sendData("\0piece");
        $job->sendWarning('careful');
        $job->sendStatus(2, 2);
        return 'done';
    },
    'fail' => function (GearmanJob $job): void {
        $job->setReturn(GEARMAN_WORK_FAIL);
    },
    'throw' => function (GearmanJob $job): void {
        $job->sendException("no {$job->workload()}");
        $job->setReturn(GEARMAN_WORK_EXCEPTION);
    },
];

$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', (int) $port);
foreach ($functions as $name => $function) {
    // Counted here: after a failed job work() returns a second time.
    $worker->addFunction("{$prefix}_$name", function (GearmanJob $job) use ($function, &$served): mixed {
        $served++;
        return $function($job);
    });
}
while ($served < (int) $count) {
    $worker->work();
    if (!in_array($worker->returnCode(), [GEARMAN_SUCCESS, GEARMAN_WORK_FAIL, GEARMAN_WORK_EXCEPTION], true)) {
        echo "return code {$worker->returnCode()}: {$worker->error()}\n";
    }
}
