<?php
/**
 * Serves PHP functions as Gearman workers. Started by gearman-manager, once for each worker process.
 *
 * The functions to serve come as JSON in the environment (GEARMAN_BRIDGE). It speaks Gearman itself: PHP's extension can
 * neither be woken up by a signal nor keep the worker's name over a reconnection. Exit codes: 0 told to stop or worn
 * out, 1 can't start, 255 a fatal error.
 */

namespace GearmanBridge;

foreach (['gearman_job', 'Clock', 'Connection', 'Definition', 'Functions', 'Log', 'TimeLimit', 'Job', 'Worker'] as $name) {
    require __DIR__ . "/$name.php";
}

function main(): int
{
    $order = \json_decode((string) \getenv('GEARMAN_BRIDGE'), true);
    if (!\is_array($order)) {
        \fwrite(\STDERR, "bridge.php is started by gearman-manager only\n");
        return 2;
    }
    \putenv('GEARMAN_BRIDGE');
    unset($_ENV['GEARMAN_BRIDGE'], $_SERVER['GEARMAN_BRIDGE']);
    set_up_reporting();
    $functions = new Functions($order['functions']);
    $limit = new TimeLimit();
    $worker = new Worker($order, $functions, $limit);
    @\cli_set_process_title("gearman-manager: worker {$order['worker']} " . \implode(',', $functions->names()));
    handle_signals($worker, $limit, $functions->have_timeouts(), $order['worker']);
    $is_running = true;
    $reserve = \str_repeat('x', 1 << 18); // freed to report that the memory is used up
    $own_pid = \getmypid(); // a process that a function forks runs this too, and must not speak for us
    \register_shutdown_function(function () use (&$is_running, &$reserve, $worker, $own_pid): void {
        $reserve = null;
        if ($is_running && \getmypid() === $own_pid) {
            ended_early($worker);
        }
    });
    $exit_code = load($functions) ? 0 : 1;
    if ($exit_code === 0) {
        $worker->run();
    }
    $is_running = false;
    return $exit_code;
}

/** Turns PHP's own messages into our log lines. */
function set_up_reporting(): void
{
    \ignore_user_abort(true); // output without a reader must not end a job
    \error_reporting(\E_ALL);
    \ini_set('display_errors', '0');
    \ini_set('log_errors', '0');
    \set_error_handler([Log::class, 'php_message']);
}

function handle_signals(Worker $worker, TimeLimit $limit, bool $has_limits, string $name): void
{
    if (!\function_exists('pcntl_async_signals') || !\function_exists('posix_kill')) {
        Log::write('WARNING', "PHP's extensions pcntl and posix are missing: running jobs are cut off when the worker "
            . 'stops, and timeouts are left to the job server');
        return;
    }
    foreach ([\SIGHUP, \SIGINT, \SIGQUIT, \SIGUSR1, \SIGUSR2, \SIGPWR] as $signal) {
        // For the supervisor, if they go to all processes. Not ignored: a program that a job starts would inherit that.
        \pcntl_signal($signal, function (): void {
        });
    }
    if ($has_limits) {
        $limit->start($name);
    } else {
        $limit->start_late = function () use ($worker, $limit, $name): void {
            try {
                $limit->start($name, $worker->streams());
            } catch (\RuntimeException $error) {
                Log::write('WARNING', "{$error->getMessage()}: they are left to the job server");
            }
        };
    }
    \pcntl_async_signals(true);
    $stop = function () use ($worker): void {
        $worker->is_stopping = true;
    };
    $worker->take_signals_back = function () use ($stop): void {
        \pcntl_signal(\SIGTERM, $stop);
        \pcntl_sigprocmask(\SIG_UNBLOCK, [\SIGTERM, \SIGALRM]);
    };
    ($worker->take_signals_back)();
}

function load(Functions $functions): bool
{
    try {
        $functions->load();
        return true;
    } catch (\Throwable $error) {
        $kind = \get_class($error);
        Log::write('ERROR', "{$error->getFile()}:{$error->getLine()}: the worker can't start: $kind: {$error->getMessage()}");
        return false;
    }
}

/** Called by the shutdown handler when the process ends while it loads code or runs a job. */
function ended_early(Worker $worker): void
{
    \ini_set('memory_limit', '-1');
    $error = \error_get_last();
    $fatal = \E_ERROR | \E_PARSE | \E_CORE_ERROR | \E_COMPILE_ERROR | \E_USER_ERROR | \E_RECOVERABLE_ERROR;
    if ($error !== null && ($error['type'] & $fatal)) {
        $reason = "fatal error: {$error['message']}";
        Log::write('ERROR', "{$error['file']}:{$error['line']}: $reason");
    } else {
        $reason = 'the PHP code ended the worker process (exit or die)';
        Log::write('ERROR', $reason);
    }
    $worker->broke_down($reason);
}

exit(main());
