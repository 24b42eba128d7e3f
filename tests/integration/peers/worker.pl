# A worker in Perl (Gearman::Worker): `perl worker.pl PORT PREFIX COUNT` serves COUNT jobs of the functions
# PREFIX_reverse, PREFIX_steps, PREFIX_fail, PREFIX_throw and PREFIX_die, and ends. It prints what the library prints.

use strict;
use warnings;
use Gearman::Worker;

my ($port, $prefix, $count) = @ARGV;
my $worker = Gearman::Worker->new(job_servers => ["127.0.0.1:$port"]);
my $served = 0;

$worker->register_function("${prefix}_reverse" => sub { scalar reverse $_[0]->arg });
$worker->register_function(
    "${prefix}_steps" => sub {
        my ($job) = @_;
        $job->set_status(1, 2);
        $worker->send_work_data($job, "\0piece");
        $worker->send_work_warning($job, "careful");
        $job->set_status(2, 2);
        return "done";
    }
);
$worker->register_function("${prefix}_fail" => sub { undef });
$worker->register_function(
    "${prefix}_throw" => sub {
        my ($job) = @_;
        $worker->send_work_exception($job, "no " . $job->arg);
        return undef;
    }
);
$worker->register_function("${prefix}_die" => sub { die "no ", $_[0]->arg, "\n" });
my $count_one = sub { $served++ };
$worker->work(on_complete => $count_one, on_fail => $count_one, stop_if => sub { $served >= $count });
