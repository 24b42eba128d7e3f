<?php
/**
 * Describes the PHP files of a workers folder as one JSON object on standard output, and runs none of their code.
 *
 * The files are its arguments. For each it prints the line of the function, or an error, and the files it includes.
 */

namespace GearmanBridge;

require __DIR__ . '/Definition.php';

const MAX_FOLLOWED = 500;

/** @return array{line: int, error: string|null, includes: string[]} */
function inspect(string $file): array
{
    $name = \basename($file, '.php');
    try {
        $definition = new Definition($file);
    } catch (\ParseError $error) {
        return ['line' => $error->getLine(), 'error' => 'syntax error: ' . $error->getMessage(), 'includes' => []];
    }
    $serving = $definition->serving($name);
    if ($serving === null) {
        $remedy = "define function $name(\$job, &\$log) or a class $name with run(\$job, &\$log), "
            . "or rename the file to _$name.php if it is a helper";
        return ['line' => 1, 'error' => "holds no function: $remedy", 'includes' => []];
    }
    $error = null;
    if ($serving['kind'] === 'class' && \stripos($serving['name'], 'Net_Gearman_Job_') === 0) {
        $error = "the class {$serving['name']} is written for PEAR's Net_Gearman, whose run() gets the decoded "
            . "argument; here it is run(\$job, &\$log): rename it to $name, take its base class away, and decode "
            . '$job->workload()';
    } elseif ($serving['kind'] === 'class' && !$serving['has_run']) {
        $error = "the class {$serving['name']} serves '$name' and needs a method run(\$job, &\$log)";
    }
    return ['line' => $serving['line'], 'error' => $error, 'includes' => followed($definition->includes)];
}

/**
 * The files and the files that they include in turn. Composer's packages are listed, but not followed.
 *
 * @param string[] $waiting
 * @return string[]
 */
function followed(array $waiting): array
{
    $known = [];
    while ($waiting && \count($known) < MAX_FOLLOWED) {
        $file = \array_pop($waiting);
        if (isset($known[$file])) {
            continue;
        }
        $known[$file] = true;
        if (\strpos($file, '/vendor/') === false) {
            try {
                $waiting = \array_merge($waiting, (new Definition($file))->includes);
            } catch (\ParseError $error) {
                continue; // the including file fails when it is loaded, and reports this then
            }
        }
    }
    return \array_keys($known);
}

if (\PHP_VERSION_ID < 70400 || !\function_exists('token_get_all') || !\function_exists('json_encode')) {
    \fwrite(\STDERR, 'PHP ' . \PHP_VERSION . ": 7.4 or newer is needed, with the extensions tokenizer and json\n");
    exit(1);
}
$report = [];
foreach (\array_slice($argv, 1) as $file) {
    $report[$file] = inspect($file);
}
echo \json_encode((object) $report, \JSON_INVALID_UTF8_SUBSTITUTE), "\n";
