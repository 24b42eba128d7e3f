<?php
/**
 * Reads a PHP file's classes, functions and includes from its tokens, and runs none of its code.
 *
 * Used twice: to find functions when the manager loads its folders, and by a worker to know what to call.
 */

namespace GearmanBridge;

/** A file's classes and functions (with PHP's full names), and the files it includes, where the paths are plain. */
final class Definition
{
    /** @var array<int, array{kind: string, name: string, line: int, has_run: bool}> */
    public $found = [];
    /** @var string[] */
    public $includes = [];

    /** @var array<int, array{0: int|string, 1: string, 2: int}> */
    private $tokens = [];
    /** @var string */
    private $folder;

    /** @throws \ParseError with the line that can't be parsed. */
    public function __construct(string $file)
    {
        $this->folder = \dirname($file);
        $line = 1;
        foreach (\token_get_all((string) \file_get_contents($file), \TOKEN_PARSE) as $token) {
            $token = \is_array($token) ? $token : [$token, $token, $line];
            $line = $token[2];
            if (!\in_array($token[0], [\T_WHITESPACE, \T_COMMENT, \T_DOC_COMMENT], true)) {
                $this->tokens[] = $token;
            }
        }
        $this->read();
        $this->tokens = [];
    }

    /**
     * The class or function that serves `$function`: one of this name, in any namespace; else one whose name ends with
     * it, for projects that prefix all their names. Names in PHP ignore case.
     *
     * @return array{kind: string, name: string, line: int, has_run: bool}|null
     */
    public function serving(string $function): ?array
    {
        foreach (['~^(.*\\\\)?' . \preg_quote($function, '~') . '$~i', '~' . \preg_quote($function, '~') . '$~i'] as $like) {
            foreach ($this->found as $candidate) {
                if (\preg_match($like, $candidate['name'])) {
                    return $candidate;
                }
            }
        }
        return null;
    }

    private function read(): void
    {
        $namespace = '';
        $depth = 0;
        $class = null; // its index in $this->found, inside its braces
        $class_depth = -1;
        foreach ($this->tokens as $at => $token) {
            $before = $at > 0 ? $this->tokens[$at - 1][0] : null;
            if ($token[0] === '{' || $token[0] === \T_CURLY_OPEN || $token[0] === \T_DOLLAR_OPEN_CURLY_BRACES) {
                $depth++;
            } elseif ($token[0] === '}') {
                $depth--;
                if ($depth === $class_depth) {
                    $class = null;
                    $class_depth = -1;
                }
            } elseif ($token[0] === \T_NAMESPACE && \in_array($before, [\T_OPEN_TAG, ';', '}', null], true)) {
                $namespace = $this->namespace_at($at + 1);
            } elseif ($token[0] === \T_CLASS && $class_depth < 0 && !\in_array($before, [\T_DOUBLE_COLON, \T_NEW], true)) {
                $class = $this->note('class', $namespace, $at + 1);
                $class_depth = $depth;
            } elseif ($token[0] === \T_FUNCTION && $before !== \T_USE) {
                $this->note_function($namespace, $at + 1, $class, $class_depth);
            } elseif (\in_array($token[0], [\T_REQUIRE, \T_REQUIRE_ONCE, \T_INCLUDE, \T_INCLUDE_ONCE], true)) {
                $this->note_include($at + 1);
            }
        }
    }

    private function namespace_at(int $at): string
    {
        $name = '';
        while (isset($this->tokens[$at]) && !\in_array($this->tokens[$at][0], [';', '{'], true)) {
            $name .= $this->tokens[$at++][1];
        }
        return $name === '' ? '' : $name . '\\';
    }

    private function note(string $kind, string $namespace, int $at): ?int
    {
        if (!isset($this->tokens[$at]) || $this->tokens[$at][0] !== \T_STRING) {
            return null;
        }
        $inherits = false; // then `run` may be inherited, which PHP knows only when it loads the file
        for ($next = $at + 1; isset($this->tokens[$next]) && $this->tokens[$next][0] !== '{'; $next++) {
            $inherits = $inherits || $this->tokens[$next][0] === \T_EXTENDS;
        }
        $inherits = $inherits || (isset($this->tokens[$next + 1]) && $this->tokens[$next + 1][0] === \T_USE);
        $this->found[] = [
            'kind' => $kind,
            'name' => $namespace . $this->tokens[$at][1],
            'line' => $this->tokens[$at][2],
            'has_run' => $inherits,
        ];
        return \count($this->found) - 1;
    }

    private function note_function(string $namespace, int $at, ?int $class, int $class_depth): void
    {
        $at += isset($this->tokens[$at]) && $this->tokens[$at][1] === '&' ? 1 : 0;
        if ($class !== null && isset($this->tokens[$at]) && \strcasecmp($this->tokens[$at][1], 'run') === 0) {
            $this->found[$class]['has_run'] = true;
        } elseif ($class_depth < 0) {
            $this->note('function', $namespace, $at); // closures have no name and are left out
        }
    }

    /** Notes a path made of __DIR__, dirname(__FILE__) and literal text; other paths are known only to running code. */
    private function note_include(int $at): void
    {
        $path = '';
        for (; isset($this->tokens[$at]) && $this->tokens[$at][0] !== ';'; $at++) {
            [$type, $text] = $this->tokens[$at];
            if ($type === \T_DIR) {
                $path .= $this->folder;
            } elseif ($type === \T_FILE) {
                $path .= $this->folder; // inside dirname(…)
            } elseif ($type === \T_CONSTANT_ENCAPSED_STRING) {
                $path .= \stripslashes(\substr($text, 1, -1));
            } elseif (!\in_array($type, ['(', ')', '.'], true) && \strcasecmp($text, 'dirname') !== 0) {
                return;
            }
        }
        $file = \realpath($path !== '' && $path[0] === '/' ? $path : $this->folder . '/' . $path);
        if ($file !== false && \is_file($file)) {
            $this->includes[] = $file;
        }
    }
}
