<?php
/** The functions that this worker serves: loads their files, calls them, and turns their results into bytes. */

namespace GearmanBridge;

final class Functions
{
    /** @var array<string, array<string, mixed>> by registered name: file, name, timeout_s, settings */
    private $ordered = [];
    /** @var array<string, callable> */
    private $callables = [];
    /** @var array<string, class-string> classes that are instantiated at their first job */
    private $classes = [];

    /** @param array<int, array<string, mixed>> $ordered */
    public function __construct(array $ordered)
    {
        foreach ($ordered as $function) {
            $this->ordered[$function['registered']] = $function;
        }
    }

    /**
     * Include every file.
     *
     * @throws \Throwable any error of a file; \RuntimeException if a file does not define its function
     */
    public function load(): void
    {
        foreach ($this->ordered as $registered => $function) {
            $serving = (new Definition($function['file']))->serving($function['name']);
            (static function (): void {
                require_once \func_get_arg(0);
            })($function['file']);
            $name = $serving['name'] ?? '';
            if ($serving !== null && $serving['kind'] === 'function' && \function_exists($name)) {
                $this->callables[$registered] = $name;
            } elseif ($serving !== null && \class_exists($name, false) && \method_exists($name, 'run')) {
                $this->classes[$registered] = $name;
            } else {
                throw new \RuntimeException("{$function['file']} does not define {$function['name']}");
            }
        }
    }

    /** @return string[] */
    public function names(): array
    {
        return \array_map('strval', \array_keys($this->ordered));
    }

    public function have_timeouts(): bool
    {
        return \array_filter(\array_column($this->ordered, 'timeout_s')) !== [];
    }

    public function knows(string $registered): bool
    {
        return isset($this->ordered[$registered]);
    }

    public function timeout_s(string $registered): ?float
    {
        $timeout_s = $this->ordered[$registered]['timeout_s'];
        return $timeout_s === null ? null : (float) $timeout_s;
    }

    /** @return array<string, mixed> */
    public function settings(string $registered): array
    {
        return $this->ordered[$registered]['settings'];
    }

    /**
     * Run the user's code.
     *
     * @param mixed $log the function adds its entries here
     */
    public function call(string $registered, Job $job, &$log): string
    {
        if (!isset($this->callables[$registered])) {
            $class = $this->classes[$registered];
            $this->callables[$registered] = [new $class(), 'run'];
        }
        $callable = $this->callables[$registered];
        return self::bytes($callable($job, $log));
    }

    /**
     * Scalars and objects with __toString become text as PHP writes it, as in the Gearman extension. Arrays and other
     * objects, for which that text would be useless, become JSON.
     *
     * @param mixed $result
     */
    private static function bytes($result): string
    {
        if ($result === null || \is_scalar($result) || (\is_object($result) && \method_exists($result, '__toString'))) {
            return (string) $result;
        }
        $text = \json_encode($result, \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE);
        if ($text === false) {
            $reason = "the result can't be sent: no text, and nothing that JSON can hold";
            throw new \UnexpectedValueException("$reason: " . \json_last_error_msg());
        }
        return $text;
    }
}
