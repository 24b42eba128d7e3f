<?php
/** Writes the manager's log records to standard error: a marked JSON line for each, as Python workers do. */

namespace GearmanBridge;

final class Log
{
    private const RECORD_MARK = "\x1e";
    private const MAX_TEXT_BYTES = 16000;

    /** @var Job|null the running job: every line names its function and handle. */
    public static $job = null;

    public static function write(string $level, string $message): void
    {
        $record = ['level' => $level, 'message' => \substr($message, 0, self::MAX_TEXT_BYTES)];
        if (self::$job !== null) {
            $record += ['function' => self::$job->functionName(), 'handle' => self::$job->handle()];
        }
        $flags = \JSON_INVALID_UTF8_SUBSTITUTE | \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE;
        @\fwrite(\STDERR, self::RECORD_MARK . \json_encode($record, $flags) . "\n"); // without a reader the job still goes on
    }

    /** An entry of a function's `$log`: text as it is, anything else as print_r shows it. @param mixed $entry */
    public static function entry($entry): void
    {
        self::write('INFO', \is_scalar($entry) ? (string) $entry : \trim(\print_r($entry, true)));
    }

    /** PHP's own warnings and notices, with their place; for set_error_handler. */
    public static function php_message(int $severity, string $message, string $file, int $line): bool
    {
        if (\error_reporting() & $severity) {
            $mild = \E_NOTICE | \E_USER_NOTICE | \E_DEPRECATED | \E_USER_DEPRECATED;
            self::write($severity & $mild ? 'INFO' : 'WARNING', "$file:$line: $message");
        }
        return true;
    }
}
