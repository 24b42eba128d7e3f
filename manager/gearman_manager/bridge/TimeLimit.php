<?php
/**
 * A job's time limit, in the same steps as for Python functions: JobTimeout in the function at the limit; if the function
 * still runs a second later, the job server is told that the job failed, and the worker is killed.
 *
 * The watchdog is a process of its own, forked before anything else: a function that blocks every signal, or hangs in a
 * system call, can't stop it.
 */

namespace GearmanBridge;

/** Thrown in a function whose time is up. Not an Exception, so `catch (Exception $e)` does not swallow it. */
final class JobTimeout extends \Error
{
}

final class TimeLimit
{
    /** @var resource|null to the watchdog */
    private $watchdog = null;
    /** @var float|null of the running job */
    private $deadline = null;
    /** @var bool a function is running, and may be interrupted now. */
    private $is_interruptible = false;
    /** @var bool the function's time ran out while it could not be interrupted. */
    private $is_late = false;
    /** @var callable|null starts the watchdog for the first job that has a limit of its own, where no function has one. */
    public $start_late = null;

    /**
     * Fork the watchdog. It holds none of the worker's connections, or their servers would not see the worker's end.
     *
     * @param resource[] $connections
     */
    public function start(string $worker, array $connections = []): void
    {
        $pair = \stream_socket_pair(\STREAM_PF_UNIX, \STREAM_SOCK_STREAM, 0);
        $parent = \getmypid();
        $child = $pair === false ? -1 : \pcntl_fork();
        if ($child === 0) {
            \pcntl_signal(\SIGTERM, \SIG_IGN); // it ends with the worker, who may still finish a job
            \fclose($pair[0]);
            \array_map('fclose', $connections);
            @\cli_set_process_title("gearman-manager: watchdog $worker");
            (new Watchdog($pair[1], $parent))->run();
            \posix_kill(\getmypid(), \SIGKILL); // at an exit PHP would say good-bye over what the functions had open
        }
        if ($child < 0) {
            throw new \RuntimeException('the watchdog of the time limits can not be started');
        }
        \fclose($pair[1]);
        $this->watchdog = $pair[0];
        \pcntl_signal(\SIGALRM, function (): void {
            $this->time_is_up();
        }, false);
    }

    /**
     * Call the function, for at most `$timeout_s` seconds.
     *
     * @return mixed its result
     * @throws JobTimeout
     */
    public function call(callable $function, ?float $timeout_s, string $server, string $handle)
    {
        if ($timeout_s !== null && $this->start_late !== null) {
            [$start, $this->start_late] = [$this->start_late, null];
            $start();
        }
        if ($timeout_s === null || $this->watchdog === null) {
            return $function();
        }
        $this->deadline = Clock::now() + $timeout_s;
        $this->tell(\sprintf("%.6F %s %s\n", $this->deadline, $server, $handle));
        $this->is_late = false;
        $this->is_interruptible = true;
        try {
            return $function();
        } finally {
            $this->is_interruptible = false;
            $this->deadline = null;
            $this->tell("\n");
        }
    }

    /** Run code of ours that a function calls, and that must not be interrupted. @return mixed its result */
    public function suspended(callable $ours)
    {
        $was_interruptible = $this->is_interruptible;
        $this->is_interruptible = false;
        $result = $ours();
        $this->is_interruptible = $was_interruptible;
        if ($was_interruptible && $this->is_late) {
            $this->is_late = false;
            throw new JobTimeout('the time is up');
        }
        return $result;
    }

    private function time_is_up(): void
    {
        if ($this->deadline === null || Clock::now() < $this->deadline - 0.001) {
            return; // meant for a job that has just ended
        }
        $this->is_late = true;
        if ($this->is_interruptible) {
            throw new JobTimeout('the time is up');
        }
    }

    private function tell(string $line): void
    {
        if ($this->watchdog !== null && @\fwrite($this->watchdog, $line) !== \strlen($line)) {
            Log::write('WARNING', 'the watchdog is gone: timeouts are left to the job server');
            $this->watchdog = null;
        }
    }
}

/** The process that watches its parent's jobs. A line (deadline, server, handle) starts one, an empty line ends it. */
final class Watchdog
{
    private const GRACE_S = 1.0;
    private const SERVER_S = 1.0;

    /** @var resource */
    private $channel;
    /** @var int */
    private $worker;
    /** @var string[]|null server and handle of the running job */
    private $job = null;
    /** @var float */
    private $due_at = 0.0;
    /** @var bool */
    private $was_told = false;

    /** @param resource $channel */
    public function __construct($channel, int $worker)
    {
        $this->channel = $channel;
        $this->worker = $worker;
        \stream_set_blocking($channel, false);
    }

    public function run(): void
    {
        while ($this->take_lines($this->job === null ? 3600.0 : \max(0.0, $this->due_at - Clock::now()))) {
            if ($this->job !== null && Clock::now() >= $this->due_at) {
                $this->was_told ? $this->kill_worker() : $this->warn();
            }
        }
    }

    private function warn(): void
    {
        \posix_kill($this->worker, \SIGALRM);
        $this->was_told = true;
        $this->due_at = Clock::now() + self::GRACE_S;
    }

    private function kill_worker(): void
    {
        \posix_kill($this->worker, \SIGSTOP);
        \usleep(1000);
        if (!$this->take_lines(0.0) || $this->job === null || !$this->was_told) {
            \posix_kill($this->worker, \SIGCONT); // the job ended just now
            return;
        }
        [$server, $handle] = $this->job;
        Log::write('ERROR', "$handle did not react to its timeout: the worker is killed");
        $this->fail_job($server, $handle);
        \posix_kill($this->worker, \SIGKILL);
        exit(0);
    }

    /** Read lines, waiting at most `$wait_s`; false once the worker is gone. */
    private function take_lines(float $wait_s): bool
    {
        $read = [$this->channel];
        $none = null;
        if (!@\stream_select($read, $none, $none, (int) $wait_s, (int) (\fmod($wait_s, 1) * 1e6))) {
            return true;
        }
        while (($line = \fgets($this->channel)) !== false) {
            $words = \explode(' ', \trim($line));
            $this->job = \count($words) === 3 ? [$words[1], $words[2]] : null;
            $this->due_at = (float) $words[0];
            $this->was_told = false;
        }
        return !\feof($this->channel);
    }

    /** Fail the job at its server as a timeout does; a foreign server can only cancel it. */
    private function fail_job(string $server, string $handle): void
    {
        $stream = @\stream_socket_client("tcp://$server", $number, $reason, self::SERVER_S);
        if ($stream === false) {
            Log::write('WARNING', "the job server could not be told that $handle failed: $reason");
            return;
        }
        \stream_set_timeout($stream, (int) self::SERVER_S);
        @\fwrite($stream, "fail job $handle timeout\r\n");
        if (\strncmp((string) @\fgets($stream), 'OK', 2) !== 0) {
            @\fwrite($stream, "cancel job $handle\r\n");
            @\fgets($stream);
        }
    }
}
