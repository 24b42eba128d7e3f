<?php
// Foreground jobs one at a time with PHP's extension: HOST PORT JOBS. Prints the seconds.
[, $host, $port, $jobs] = $argv;
$client = new GearmanClient();
$client->addServer($host, (int) $port);
$workload = str_repeat('x', 100);
for ($i = -100; $i < (int) $jobs; $i++) {
    if ($i === 0) {
        $started = hrtime(true);
    }
    if ($client->doNormal('roundtrip', $workload) !== $workload) {
        fwrite(STDERR, $client->error() . "\n");
        exit(1);
    }
}
printf("%.6f\n", (hrtime(true) - $started) / 1e9);
