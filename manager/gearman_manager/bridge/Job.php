<?php
/**
 * The job that a function receives: a GearmanJob like that of PHP's extension, plus our attempt number and settings.
 *
 * Its methods talk to the job server. No timeout may interrupt them, or half a packet would be sent.
 */

namespace GearmanBridge;

final class Job extends \GearmanJob
{
    /** @var array<string, mixed> the function's `settings` of the configuration. */
    public $settings;
    /** @var int|null 1 for the first attempt; null if the job server does not say. */
    public $attempt;
    /** @var string[] names and values that the client gave the job for its function, such as `traceparent`. */
    public $headers = [];
    /** @var string[] */
    public $tags = [];
    /** @var string a customer, a domain, by which the job server limits; or empty. */
    public $key = '';
    /** @var int|null from 0 to 9, the most urgent; null: the client gave none. */
    public $priority = null;
    /** @var float|null the job's own time limit, which wins over the function's; 0: none; null: it has none of its own. */
    public $timeout_s = null;
    /** @var bool the server has been told how the job ended. */
    public $answered = false;

    /** @var Connection */
    private $connection;
    /** @var TimeLimit */
    private $limit;
    /** @var string */
    private $handle;
    /** @var string */
    private $function;
    /** @var string */
    private $unique;
    /** @var string */
    private $workload;
    /** @var int */
    private $code = \GEARMAN_SUCCESS;

    /**
     * @param string[] $arguments as Connection::grab returns them
     * @param array<string, mixed> $settings
     */
    public function __construct(array $arguments, array $settings, Connection $connection, TimeLimit $limit)
    {
        [$this->handle, $this->function, $this->unique, $attempt, $this->workload] = $arguments;
        $this->take_options(\array_slice($arguments, 5));
        $this->attempt = $attempt === '' ? null : (int) $attempt;
        $this->settings = $settings;
        $this->connection = $connection;
        $this->limit = $limit;
    }

    /** @param string[] $pairs key=value; keys that this version does not know are passed over */
    private function take_options(array $pairs): void
    {
        foreach ($pairs as $pair) {
            [$key, $value] = \explode('=', $pair, 2) + [1 => ''];
            if (\strpos($key, 'header:') === 0) {
                $this->headers[\substr($key, 7)] = $value;
            } elseif ($key === 'tag') {
                $this->tags[] = $value;
            } elseif ($key === 'key') {
                $this->key = $value;
            } elseif ($key === 'priority') {
                $this->priority = (int) $value;
            } elseif ($key === 'timeout') {
                $this->timeout_s = (int) $value / 1000;
            }
        }
    }

    public function __destruct()
    {
    }

    public function workload(): string
    {
        return $this->workload;
    }

    public function workloadSize(): int
    {
        return \strlen($this->workload);
    }

    public function handle(): string
    {
        return $this->handle;
    }

    public function unique(): string
    {
        return $this->unique;
    }

    public function functionName(): string
    {
        return $this->function;
    }

    public function setReturn($code): bool
    {
        $this->code = (int) $code;
        return true;
    }

    public function returnCode(): int
    {
        return $this->code;
    }

    public function sendStatus($numerator, $denominator): bool
    {
        return $this->tell(Connection::WORK_STATUS, (string) (int) $numerator, (string) (int) $denominator);
    }

    public function sendData($data): bool
    {
        return $this->tell(Connection::WORK_DATA, (string) $data);
    }

    public function sendWarning($warning): bool
    {
        return $this->tell(Connection::WORK_WARNING, (string) $warning);
    }

    public function sendComplete($result): bool
    {
        return $this->answer(Connection::WORK_COMPLETE, (string) $result) && $this->flush();
    }

    public function sendException($exception): bool
    {
        return $this->answer(Connection::WORK_EXCEPTION, (string) $exception) && $this->flush();
    }

    public function sendFail(): bool
    {
        return $this->answer(Connection::WORK_FAIL) && $this->flush();
    }

    /** The job is done. The answer is sent with the next packets. */
    public function complete(string $result): void
    {
        $this->answer(Connection::WORK_COMPLETE, $result);
    }

    /** The job failed. Clients of other servers would wait for ever after an exception, so they get a warning instead. */
    public function fail(string $reason): void
    {
        if ($this->connection->is_ours) {
            $this->answer(Connection::WORK_EXCEPTION, $reason);
        } elseif (!$this->answered) {
            $this->connection->queue(Connection::WORK_WARNING, $this->handle, $reason);
            $this->answer(Connection::WORK_FAIL);
        }
    }

    private function answer(int $type, string ...$arguments): bool
    {
        if ($this->answered) {
            return false;
        }
        $this->answered = true;
        $this->connection->queue($type, $this->handle, ...$arguments);
        return true;
    }

    private function tell(int $type, string ...$arguments): bool
    {
        if ($this->answered) {
            return false;
        }
        $this->connection->queue($type, $this->handle, ...$arguments);
        return $this->flush();
    }

    private function flush(): bool
    {
        return $this->limit->suspended(function (): bool {
            try {
                $this->connection->flush();
                return true;
            } catch (ConnectionLost $error) {
                return false; // as the extension does; the worker notices the loss after the job
            }
        });
    }
}
