<?php
/**
 * The loop of a PHP worker: it asks the job servers in turn for jobs and runs one at a time, until it is told to stop.
 *
 * A server without jobs is asked again only after it has woken us up. A worker that is about to end sends no grab, so
 * it takes no job that it would not run.
 */

namespace GearmanBridge;

final class Worker
{
    private const TURN_JOBS = 100; // then it is another server's turn
    private const TURN_S = 0.1;
    private const LONGEST_WAIT_S = 1.0; // a signal just before the wait is noticed after this time at most

    /** @var bool */
    public $is_stopping = false;

    /** @var array<string, mixed> the manager's order */
    private $order;
    /** @var Functions */
    private $functions;
    /** @var TimeLimit */
    private $limit;
    /** @var Connection[] */
    private $connections = [];
    /** @var int */
    private $turn = 0;
    /** @var int */
    private $jobs = 0;
    /** @var Job|null */
    private $running = null;
    /** @var Connection|null of the running job */
    private $running_on = null;
    /** @var callable|null called after each job, which may have taken the signals over or blocked them */
    public $take_signals_back = null;
    /** @var mixed the entries that the running job's function has put into its `$log` */
    private $log = [];
    /** @var int */
    private $page_bytes;

    /** @param array<string, mixed> $order */
    public function __construct(array $order, Functions $functions, TimeLimit $limit)
    {
        $this->order = $order;
        $this->functions = $functions;
        $this->limit = $limit;
        foreach ($order['servers'] as $address) {
            $this->connections[] = new Connection($address);
        }
        $this->page_bytes = $order['page_bytes'];
    }

    public function run(): void
    {
        while (!$this->is_leaving()) {
            $this->open_what_is_due();
            $connection = $this->next_awake();
            if ($connection === null) {
                $this->wait();
                continue;
            }
            try {
                $this->serve($connection);
            } catch (ConnectionLost $error) {
                $connection->lost($error->getMessage());
            }
        }
    }

    /** @return resource[] the open connections */
    public function streams(): array
    {
        return \array_filter(\array_column($this->connections, 'stream'));
    }

    /** The process ends during a job, by a fatal error or by exit: fail the job, so that its client hears of it. */
    public function broke_down(string $reason): void
    {
        if ($this->running === null) {
            return;
        }
        $this->write_log();
        $this->running->fail($reason);
        try {
            $this->running_on->flush();
        } catch (ConnectionLost $error) {
            Log::write('WARNING', 'the job server could not be told that the job failed');
        }
    }

    private function open_what_is_due(): void
    {
        foreach ($this->connections as $connection) {
            if ($connection->stream === null && $connection->retry_at <= Clock::now()) {
                $connection->open($this->order['client_id'], $this->functions->names());
            }
        }
    }

    private function next_awake(): ?Connection
    {
        foreach ($this->connections as $_) {
            $connection = $this->connections[$this->turn++ % \count($this->connections)];
            if ($connection->stream !== null && !$connection->is_asleep) {
                return $connection;
            }
        }
        return null;
    }

    private function wait(): void
    {
        $streams = [];
        $until = Clock::now() + self::LONGEST_WAIT_S;
        foreach ($this->connections as $number => $connection) {
            if ($connection->stream !== null) {
                $streams[$number] = $connection->stream;
            } else {
                $until = \min($until, $connection->retry_at);
            }
        }
        $wait_us = (int) (\max(0.0, $until - Clock::now()) * 1e6);
        if ($streams === []) {
            \usleep($wait_us);
            return;
        }
        $none = null;
        if (!@\stream_select($streams, $none, $none, 0, $wait_us)) {
            return;
        }
        foreach (\array_keys($streams) as $number) {
            try {
                $this->connections[$number]->read_asleep();
            } catch (ConnectionLost $error) {
                $this->connections[$number]->lost($error->getMessage());
            }
        }
    }

    /** @throws ConnectionLost */
    private function serve(Connection $connection): void
    {
        $until = Clock::now() + self::TURN_S;
        $unconfirmed = null;
        try {
            for ($count = 0; $count < self::TURN_JOBS && !$this->is_leaving(); $count++) {
                $arguments = $connection->grab(); // sends the last job's answer too
                $unconfirmed = null;
                if ($arguments === null) {
                    $connection->sleep();
                    return;
                }
                $unconfirmed = $arguments[0];
                $this->run_job($connection, $arguments);
                if (\count($this->connections) > 1 && Clock::now() > $until) {
                    break;
                }
            }
            $connection->flush();
        } catch (ConnectionLost $error) {
            if ($unconfirmed !== null) {
                Log::write('WARNING', "the answer to $unconfirmed may be lost with its connection");
            }
            throw $error;
        }
    }

    /** @param string[] $arguments */
    private function run_job(Connection $connection, array $arguments): void
    {
        $registered = $arguments[1];
        if (!$this->functions->knows($registered)) {
            $connection->queue(Connection::WORK_FAIL, $arguments[0]);
            return;
        }
        $job = new Job($arguments, $this->functions->settings($registered), $connection, $this->limit);
        $this->running = Log::$job = $job;
        $this->running_on = $connection;
        $this->jobs++;
        $this->log = [];
        try {
            $this->finish($job, $this->call($job, $connection));
        } catch (\Throwable $error) {
            $this->failed($job, $error);
        }
        $this->running = Log::$job = null;
        if ($this->take_signals_back !== null) {
            ($this->take_signals_back)();
        }
    }

    private function call(Job $job, Connection $connection): string
    {
        $registered = $job->functionName();
        $function = function () use ($registered, $job): string {
            return $this->functions->call($registered, $job, $this->log);
        };
        $timeout_s = $this->functions->timeout_s($registered);
        if ($job->timeout_s !== null) {
            $timeout_s = $job->timeout_s > 0 ? $job->timeout_s : null;
        }
        try {
            return $this->limit->call($function, $timeout_s, $connection->address, $job->handle());
        } catch (JobTimeout $error) {
            throw new JobTimeout("$registered took longer than its timeout of $timeout_s s", 0, $error);
        }
    }

    private function finish(Job $job, string $result): void
    {
        $this->write_log();
        if ($job->returnCode() === \GEARMAN_SUCCESS) {
            $job->complete($result);
            return;
        }
        Log::write('ERROR', "the job failed: its function set the return code {$job->returnCode()}");
        $job->fail($result !== '' ? $result : "return code {$job->returnCode()}");
    }

    private function failed(Job $job, \Throwable $error): void
    {
        $this->write_log();
        $kind = $error instanceof JobTimeout ? 'JobTimeout' : \get_class($error);
        $text = "$kind: {$error->getMessage()}";
        $place = self::place($error instanceof JobTimeout ? $error->getPrevious() : $error);
        Log::write('ERROR', "the job failed: $text$place");
        $job->fail($text);
    }

    /** The innermost line of the user's code, where its author should look. */
    private static function place(\Throwable $error): string
    {
        $own = ['file' => $error->getFile(), 'line' => $error->getLine()];
        foreach (\array_merge([$own], $error->getTrace()) as $frame) {
            if (isset($frame['file']) && \strpos($frame['file'], __DIR__ . '/') !== 0) {
                return ", at {$frame['file']}:{$frame['line']}";
            }
        }
        return '';
    }

    private function write_log(): void
    {
        foreach (\is_array($this->log) ? $this->log : [$this->log] as $entry) {
            Log::entry($entry);
        }
        $this->log = [];
    }

    private function is_leaving(): bool
    {
        if ($this->is_stopping || ($this->order['max_jobs'] !== null && $this->jobs >= $this->order['max_jobs'])) {
            return true;
        }
        $limit_bytes = $this->order['max_memory_bytes'];
        if ($limit_bytes === null || $this->jobs === 0) {
            return false;
        }
        $pages = \explode(' ', (string) @\file_get_contents('/proc/self/statm')); // size, resident, shared
        return isset($pages[2]) && ((int) $pages[1] - (int) $pages[2]) * $this->page_bytes >= $limit_bytes;
    }
}
