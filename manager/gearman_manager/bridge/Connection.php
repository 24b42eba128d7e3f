<?php
/**
 * A worker's connection to one job server: it sends and receives packets, and reconnects after a loss.
 *
 * It decides nothing: the worker decides which server to ask for a job, and when.
 */

namespace GearmanBridge;

/** The connection is lost, or the peer does not speak Gearman. */
final class ConnectionLost extends \RuntimeException
{
}

final class Connection
{
    public const CAN_DO = 1;
    public const PRE_SLEEP = 4;
    public const NOOP = 6;
    public const NO_JOB = 10;
    public const JOB_ASSIGN_UNIQ = 31;
    public const WORK_STATUS = 12;
    public const WORK_COMPLETE = 13;
    public const WORK_FAIL = 14;
    public const ERROR = 19;
    public const SET_CLIENT_ID = 22;
    public const WORK_EXCEPTION = 25;
    public const OPTION_REQ = 26;
    public const OPTION_RES = 27;
    public const WORK_DATA = 28;
    public const WORK_WARNING = 29;
    public const GRAB_JOB_UNIQ = 30;
    public const JOB_ASSIGN_ATTEMPT = 1000; // our servers' extension: holds the attempt's number
    public const JOB_ASSIGN_WITH = 1013; // the same with the options of the job that concern us

    private const OPTIONS = ['job-attempt', 'job-options'];
    private const CONNECT_S = 3.0;
    private const ANSWER_S = 10.0;
    private const FIRST_RETRY_S = 0.1;
    private const MAX_RETRY_S = 10.0;
    private const MAX_PACKET_BYTES = 1 << 30;
    private const READ_BYTES = 65536;

    /** @var string HOST:PORT */
    public $address;
    /** @var resource|null */
    public $stream = null;
    /** @var bool the server has no job for us, and will wake us up. */
    public $is_asleep = false;
    /** @var bool the server is one of ours: then a failure is sent as an exception, which every client understands. */
    public $is_ours = false;
    /** @var float when to try again, on the clock of Clock::now() */
    public $retry_at = 0.0;

    /** @var string */
    private $unread = '';
    /** @var string */
    private $unsent = '';
    /** @var float */
    private $retry_s = self::FIRST_RETRY_S;

    public function __construct(string $address)
    {
        $this->address = $address;
    }

    /** @param string[] $functions */
    public function open(string $client_id, array $functions): bool
    {
        $options = \stream_context_create(['socket' => ['tcp_nodelay' => true]]);
        $stream = @\stream_socket_client(
            "tcp://{$this->address}", $number, $reason, self::CONNECT_S, \STREAM_CLIENT_CONNECT, $options
        );
        if ($stream === false) {
            $this->lost("can't be reached: $reason");
            return false;
        }
        \stream_set_blocking($stream, false);
        $this->stream = $stream;
        $this->is_asleep = $this->is_ours = false;
        $this->unread = $this->unsent = '';
        $this->queue(self::SET_CLIENT_ID, $client_id);
        foreach (self::OPTIONS as $option) {
            $this->queue(self::OPTION_REQ, $option);
        }
        foreach ($functions as $function) {
            $this->queue(self::CAN_DO, $function);
        }
        return true;
    }

    public function lost(string $reason): void
    {
        if ($this->stream !== null) {
            @\fclose($this->stream);
        }
        if ($this->stream !== null || $this->retry_at === 0.0) { // logged once: further failures are no news
            Log::write('INFO', "job server {$this->address}: $reason; trying again");
        }
        $this->stream = null;
        $this->retry_at = Clock::now() + $this->retry_s * (0.5 + \mt_rand() / \mt_getrandmax());
        $this->retry_s = \min($this->retry_s * 2, self::MAX_RETRY_S);
    }

    public function queue(int $type, string ...$arguments): void
    {
        $body = \implode("\0", $arguments);
        $this->unsent .= "\0REQ" . \pack('NN', $type, \strlen($body)) . $body;
    }

    /** @throws ConnectionLost */
    public function flush(): void
    {
        $deadline = Clock::now() + self::ANSWER_S;
        while ($this->unsent !== '') {
            $written = $this->stream === null ? false : @\fwrite($this->stream, $this->unsent);
            if ($written === false || ($written === 0 && \feof($this->stream))) {
                throw new ConnectionLost('the connection is gone');
            }
            $this->unsent = (string) \substr($this->unsent, $written);
            if ($this->unsent !== '' && $written === 0 && !$this->wait(false, $deadline)) {
                throw new ConnectionLost('it takes no data any longer');
            }
        }
    }

    /**
     * Ask for a job: its arguments (handle, function, unique, attempt, workload), and after them pairs key=value; or
     * null if there is none.
     *
     * @return string[]|null
     * @throws ConnectionLost
     */
    public function grab(): ?array
    {
        $this->queue(self::GRAB_JOB_UNIQ);
        $this->flush();
        $deadline = Clock::now() + self::ANSWER_S;
        while (true) {
            [$type, $body] = $this->packet($deadline);
            if ($type === self::JOB_ASSIGN_ATTEMPT) {
                return $this->arguments($body, 5);
            }
            if ($type === self::JOB_ASSIGN_WITH) {
                [$handle, $function, $unique, $attempt, $rest] = $this->arguments($body, 5);
                [$pairs, $workload] = \explode("\0\0", "\0$rest", 2) + [1 => '']; // an empty pair ends the pairs
                $told = $pairs === '' ? [] : \explode("\0", \substr($pairs, 1));
                return \array_merge([$handle, $function, $unique, $attempt, $workload], $told);
            }
            if ($type === self::JOB_ASSIGN_UNIQ) {
                [$handle, $function, $unique, $workload] = $this->arguments($body, 4);
                return [$handle, $function, $unique, '', $workload];
            }
            if ($type === self::NO_JOB) {
                $this->retry_s = self::FIRST_RETRY_S;
                return null;
            }
            $this->take($type, $body);
        }
    }

    /** @throws ConnectionLost */
    public function sleep(): void
    {
        $this->queue(self::PRE_SLEEP);
        $this->flush();
        $this->is_asleep = true;
    }

    /** Read the packets of a sleeping connection whose stream is readable. @throws ConnectionLost */
    public function read_asleep(): void
    {
        $this->receive();
        while (($packet = $this->next_packet()) !== null) {
            $this->take($packet[0], $packet[1]);
        }
    }

    private function take(int $type, string $body): void
    {
        if ($type === self::NOOP) {
            $this->is_asleep = false;
        } elseif ($type === self::OPTION_RES) {
            $this->is_ours = true;
        } elseif ($type === self::ERROR && \strpos($body, 'UNKNOWN_OPTION') !== 0) {
            Log::write('WARNING', "job server {$this->address} says " . \str_replace("\0", ': ', $body));
        }
    }

    /** @return array{0: int, 1: string} */
    private function packet(float $deadline): array
    {
        while (($packet = $this->next_packet()) === null) {
            if (!$this->wait(true, $deadline)) {
                throw new ConnectionLost('it does not answer');
            }
            $this->receive();
        }
        return $packet;
    }

    /** @return array{0: int, 1: string}|null */
    private function next_packet(): ?array
    {
        if (\strlen($this->unread) < 12) {
            return null;
        }
        $head = \unpack('Nmagic/Ntype/Nsize', $this->unread);
        if ($head['magic'] !== 0x00524553 || $head['size'] > self::MAX_PACKET_BYTES) {
            throw new ConnectionLost('it does not speak Gearman');
        }
        if (\strlen($this->unread) < 12 + $head['size']) {
            return null;
        }
        $body = (string) \substr($this->unread, 12, $head['size']);
        $this->unread = (string) \substr($this->unread, 12 + $head['size']);
        return [$head['type'], $body];
    }

    private function receive(): void
    {
        $data = $this->stream === null ? false : @\fread($this->stream, self::READ_BYTES);
        if ($data === false || ($data === '' && \feof($this->stream))) {
            throw new ConnectionLost('the connection is gone');
        }
        $this->unread .= $data;
    }

    private function wait(bool $for_reading, float $deadline): bool
    {
        while (($left = $deadline - Clock::now()) > 0) {
            $read = $for_reading ? [$this->stream] : null;
            $write = $for_reading ? null : [$this->stream];
            $except = null;
            if (@\stream_select($read, $write, $except, (int) $left, (int) (\fmod($left, 1) * 1e6))) {
                return true;
            } // time is up, or a signal interrupted the wait
        }
        return false;
    }

    /** @return string[] */
    private function arguments(string $body, int $count): array
    {
        $arguments = \explode("\0", $body, $count);
        if (\count($arguments) !== $count) {
            throw new ConnectionLost('it does not speak Gearman');
        }
        return $arguments;
    }
}
