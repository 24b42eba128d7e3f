<?php
// A client in PHP (libgearman underneath). It prints a transcript that the clients in Perl and C print too, and nothing
// else: `php client.php PORT results|text [FUNCTION]`, `php client.php PORT progress|failure|exception`,
// `php client.php PORT background FILE`, `php client.php PORT queue|join FUNCTION`.

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

function text(int $port, string $function = 'reverse'): void
{
    $client = connected($port);
    echo 'normal: ', answer($client, $client->doNormal($function, 'Rasmus')), "\n";
    echo 'high: ', answer($client, $client->doHigh($function, 'Rasmus')), "\n";
    echo 'low: ', answer($client, $client->doLow($function, 'Rasmus')), "\n";
}

function results(int $port, string $function = 'reverse'): void
{
    text($port, $function);
    $client = connected($port);
    $workload = str_repeat("\0\x01zero\xff\n", 1 << 17);
    $reversed = $client->doNormal($function, $workload);
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

// Four submissions that are three jobs, one in each queue.
function queue(int $port, string $function): void
{
    $client = connected($port);
    $handles = [
        $client->doLowBackground($function, 'low', "$function low"),
        $client->doBackground($function, 'normal', "$function normal"),
        $client->doHighBackground($function, 'high', "$function high"),
        $client->doBackground($function, 'normal', "$function normal"),
    ];
    echo "normal: created\n";
    echo 'normal: ', $handles[3] === $handles[1] ? 'coalesced' : 'created', "\n";
}

// A job in the foreground, which others wait for too.
function join_in(int $port, string $function): void
{
    $client = connected($port);
    echo 'joined: ', answer($client, $client->doNormal($function, 'mine', "$function shared")), "\n";
}

($mode === 'join' ? 'join_in' : $mode)((int) $port, ...array_slice($argv, 3));
