<?php
/** Picks columns out of a CSV text: the first line of the workload names them, the rest is the text with its header. */

namespace Shop\Workers;

function csv_columns(\GearmanJob $job, &$log)
{
    [$wanted, $text] = explode("\n", $job->workload(), 2);
    $rows = array_map(static fn($line) => str_getcsv($line, ',', '"', ''), explode("\n", trim($text)));
    $header = array_shift($rows);
    $columns = array_map(static fn($name) => array_search($name, $header, true), explode(',', $wanted));
    if (in_array(false, $columns, true)) {
        $log[] = "the header has no such column: $wanted";
        $job->sendFail();
        return null;
    }
    foreach ($rows as $row) {
        $job->sendData(implode(';', array_map(static fn($column) => $row[$column], $columns)) . "\n");
    }
    return count($rows);
}
