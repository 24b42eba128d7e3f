# A client in Perl (Gearman::Client). It prints a transcript that the clients in PHP and C print too, and nothing else:
# `perl client.pl PORT results|text [FUNCTION]`, `perl client.pl PORT progress|failure|exception`,
# `perl client.pl PORT background FILE`, `perl client.pl PORT queue|join FUNCTION`.

use strict;
use warnings;
use Gearman::Client;
use Time::HiRes qw(sleep);

my ($port, $mode, $subject) = @ARGV;
$| = 1;

sub connected {
    return Gearman::Client->new(job_servers => ["127.0.0.1:$port"], @_);
}

sub answer {
    my ($result) = @_;
    return defined $result ? $$result : "undefined";
}

sub text {
    my $client = connected();
    my $function = $subject // "reverse";
    print "normal: ", answer($client->do_task($function, "Rasmus")), "\n";
    for my $priority ("high", "low") {
        print "$priority: ", answer($client->do_task($function, "Rasmus", { priority => $priority })), "\n";
    }
}

sub results {
    text();
    my $client = connected();
    my $workload = "\0\x01zero\xff\n" x (1 << 17);
    my $reversed = answer($client->do_task($subject // "reverse", $workload));
    print "large: ", $reversed eq reverse($workload) ? length($reversed) . " bytes reversed" : "wrong", "\n";
}

sub progress {
    my $tasks = connected()->new_task_set;
    my $on_status = sub { print "$_[0]/$_[1]\n" };
    my $on_complete = sub { print "complete: ${$_[0]}\n" };
    $tasks->add_task("slow_reverse", "Rasmus", { on_status => $on_status, on_complete => $on_complete });
    $tasks->wait;
    print "all tasks ended\n";
}

sub failure {
    my $plain = connected();
    my $result = $plain->do_task("word_count", "\xff");
    print "plain: ", defined $result ? $$result : "failed", "\n";
    print "afterwards: ", answer($plain->do_task("reverse", "Rasmus")), "\n";
}

sub exception {
    my $curious = connected(exceptions => 1);
    my $on_exception = sub { print "exception: $_[0]\n" };
    my $result = $curious->do_task("word_count", "\xff", { on_exception => $on_exception });
    print "all tasks ended\n";
    print "blocking: ", defined $result ? $$result : "exception", "\n";
}

# The function `gate` reports 3 of 10 and then waits until the file that its workload names is there.
sub background {
    my $client = connected();
    my $handle = $client->dispatch_background("gate", $subject);
    my $status;
    do {
        sleep 0.005;
        $status = $client->get_status($handle);
    } until ($status->known && $status->running && $status->progress && "@{$status->progress}" eq "3 10");
    print "running, 3/10\n";
    open(my $gate, ">", $subject) or die "$subject: $!";
    close $gate;
    do {
        sleep 0.005;
        $status = $client->get_status($handle);
    } while ($status->known);
    print $status->running ? "running, but unknown\n" : "unknown\n";
}

# Four submissions that are three jobs, one in each queue.
sub queue {
    my $client = connected();
    my %handles;
    for my $name ("low", "normal", "high", "normal") {
        my %options = (uniq => "$subject $name", $name eq "normal" ? () : (priority => $name));
        my $handle = $client->dispatch_background($subject, $name, \%options);
        my $state = ($handles{$name} //= "") eq $handle ? "coalesced" : "created";
        print "normal: $state\n" if $name eq "normal";
        $handles{$name} = $handle;
    }
}

# A job in the foreground, which others wait for too.
sub join_in {
    print "joined: ", answer(connected()->do_task($subject, "mine", { uniq => "$subject shared" })), "\n";
}

my %modes = (
    join => \&join_in,
    results => \&results,
    text => \&text,
    queue => \&queue,
    progress => \&progress,
    failure => \&failure,
    exception => \&exception,
    background => \&background,
);
$modes{$mode}->();
