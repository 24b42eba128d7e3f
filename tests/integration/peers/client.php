<?php
// A client in PHP (libgearman underneath). It prints a transcript that the clients in Perl and C print too, and nothing
// else: `php client.php PORT results|progress|failure|exception`, `php client.php PORT background FILE`.

[, $port, $mode] = $argv;

function connected(int $port, bool $exceptions = false): GearmanClient
{
    $client = new GearmanClient();
    $client->addServer('127.0.0.1', $port, $exceptions);
    return $client;
}

function answer(GearmanClient $client, string $result): string
{
    return $client->returnCode() === GEARMAN_SUCCESS ? $result : "return code {$client->returnCode()}, {$client->error()}";
}

function results(int $port): void
{
    $client = connected($port);
    echo 'normal: ', answer($client, $client->doNormal('reverse', 'Rasmus')), "\n";
    echo 'high: ', answer($client, $client->doHigh('reverse', 'Rasmus')), "\n";
    echo 'low: ', answer($client, $client->doLow('reverse', 'Rasmus')), "\n";
    $workload = str_repeat("\0\x01zero\xff\n", 1 << 17);
    $reversed = $client->doNormal('reverse', $workload);
    echo 'large: ', $reversed === strrev($workload) ? strlen($reversed) . ' bytes reversed' : 'wrong', "\n";
}

function progress(int $port): void
{
    $client = connected($port);
    $client->setStatusCallback(function (GearmanTask $task): void {
        echo "{$task->taskNumerator()}/{$task->taskDenominator()}\n";
    });
    $client->setCompleteCallback(function (GearmanTask $task): void {
        echo "complete: {$task->data()}\n";
    });
    $client->addTask('slow_reverse', 'Rasmus');
    echo $client->runTasks() ? "all tasks ended\n" : "runTasks failed: {$client->error()}\n";
}

function failure(int $port): void
{
    $plain = connected($port);
    $result = $plain->doNormal('word_count', "\xff");
    $failed = $result === '' && $plain->returnCode() === GEARMAN_WORK_FAIL;
    echo 'plain: ', $failed ? 'failed' : var_export($result, true) . " {$plain->error()}", "\n";
    echo 'afterwards: ', answer($plain, $plain->doNormal('reverse', 'Rasmus')), "\n";
}

function exception(int $port): void
{
    $curious = connected($port, true);
    $curious->setExceptionCallback(function (GearmanTask $task): void {
        echo "exception: {$task->data()}\n";
    });
    $curious->setFailCallback(function (): void {
        echo "fail callback\n";
    });
    $curious->addTask('word_count', "\xff");
    echo $curious->runTasks() ? "all tasks ended\n" : "runTasks failed: {$curious->error()}\n";
    $curious->doNormal('word_count', "\xff");
    echo 'blocking: ', $curious->returnCode() === GEARMAN_WORK_EXCEPTION ? 'exception' : $curious->error(), "\n";
}

// The function `gate` reports 3 of 10 and then waits until the file that its workload names is there.
function background(int $port, string $file): void
{
    $client = connected($port);
    $handle = $client->doBackground('gate', $file);
    do {
        usleep(5000);
    } while ([true, true, 3, 10] !== $client->jobStatus($handle));
    echo "running, 3/10\n";
    touch($file);
    do {
        usleep(5000);
        $status = $client->jobStatus($handle);
    } while ($status[0]);
    echo $status === [false, false, 0, 0] ? "unknown\n" : json_encode($status) . "\n";
}

$mode((int) $port, ...array_slice($argv, 3));
