"""Clients and workers of other projects, unchanged, with the list of a cluster's servers, one of which is killed."""

from __future__ import annotations

import contextlib
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ..server_process import ServerProcess
from .conftest import Until, submit

#: What the peers do does not depend on the database.
pytestmark = pytest.mark.parametrize("cluster", ["postgresql"], indirect=True)

#: Serves `f`: writes each workload into a file, and answers in upper case. What a call that met the dead server says is
#: that library's affair; the program goes on.
WORKERS = {
    "php": """
        $w = new GearmanWorker(); $w->addServers("SERVERS");
        $w->addFunction("f", function ($job) {
            file_put_contents("DONE", $job->workload() . "\\n", FILE_APPEND);
            return strtoupper($job->workload());
        });
        while (true) { @$w->work(); }
    """,
    "perl": """
        use Gearman::Worker; my $w = Gearman::Worker->new(job_servers => [split /,/, "SERVERS"]);
        $w->register_function(f => sub {
            open my $done, ">>", "DONE"; print $done $_[0]->arg, "\\n"; close $done;
            return uc $_[0]->arg;
        });
        eval { $w->work } while 1;
    """,
}
#: For each line read: `f` in the foreground, and once that is answered in the background. Again if a call has failed.
#: `false` keeps libgearman from asking for exceptions first: docs/cluster.md says why.
CLIENTS = {
    "php": """
        $c = new GearmanClient(); $c->addServers("SERVERS", false); $c->setTimeout(2000);
        while ($line = fgets(STDIN)) {
            $line = trim($line);
            do { $answer = @$c->doNormal("f", $line); } while ($c->returnCode() !== GEARMAN_SUCCESS);
            do { @$c->doBackground("f", "$line later"); } while ($c->returnCode() !== GEARMAN_SUCCESS);
            echo $answer, "\\n";
        }
    """,
    "perl": """
        use Gearman::Client; $| = 1; my $c = Gearman::Client->new(job_servers => [split /,/, "SERVERS"]);
        while (my $line = <STDIN>) {
            chomp $line;
            my ($answer, $handle);
            do { $answer = eval { $c->do_task("f", $line) } } until $answer;
            do { $handle = eval { $c->dispatch_background("f", "$line later") } } until $handle;
            print $$answer, "\\n";
        }
    """,
}
OPTIONS = {"php": "-r", "perl": "-e"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs in a language, with the servers: `start("perl", text, pair)`."""
    with contextlib.ExitStack() as stack:

        def start_program(language: str, text: str, servers: tuple[ServerProcess, ...]) -> subprocess.Popen[str]:
            program = shutil.which(language)
            assert program, f"{language} is not installed (CONTRIBUTING.md lists the peers)"
            text = text.replace("SERVERS", ",".join(server.address for server in servers))
            text = text.replace("DONE", str(tmp_path / "done"))
            process = subprocess.Popen(
                [program, OPTIONS[language], text], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start_program


class PatientCaller:
    """A client in a language. One whose server died in the middle may get no answer, and is started anew."""

    def __init__(self, start: Callable[[tuple[ServerProcess, ...]], subprocess.Popen[str]]) -> None:
        self._start = start
        self._client: subprocess.Popen[str] | None = None

    def ask(self, line: str, servers: tuple[ServerProcess, ...]) -> str:
        """The answer; a client that has to be started is given these servers: PHP's refuses a list with a dead one."""
        for _ in range(5):
            client = self._client = self._client or self._start(servers)
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(line + "\n")
            client.stdin.flush()
            if select.select([client.stdout], [], [], 10.0)[0]:
                return client.stdout.readline().strip()
            client.kill()
            self._client = None
        return "no answer"


@pytest.mark.parametrize("language", ["php", "perl"])
def test_clients_and_workers_go_on_with_the_other_server(
    pair: tuple[ServerProcess, ServerProcess],
    start: Callable[..., subprocess.Popen[str]],
    language: str,
    until: Until,
    tmp_path: Path,
) -> None:
    first = pair[0]
    done = tmp_path / "done"

    def has_done(*workloads: str) -> bool:
        return set(workloads) <= set(done.read_text().splitlines())

    worker = start(language, WORKERS[language], pair)
    client = PatientCaller(partial(start, language, CLIENTS[language]))
    assert client.ask("before", pair) == "BEFORE"
    until(lambda: has_done("before", "before later"))
    worker.send_signal(signal.SIGSTOP)
    submit(first.peer(), 3, workload=b"acknowledged ")
    first.signal(signal.SIGKILL)
    first.wait()
    worker.send_signal(signal.SIGCONT)
    assert client.ask("after", pair[1:]) == "AFTER"
    until(lambda: has_done("after later", "acknowledged 0", "acknowledged 1", "acknowledged 2"))


def test_a_client_of_libgearman_that_asks_for_nothing_first_gets_each_answer(
    pair: tuple[ServerProcess, ServerProcess], start: Callable[..., subprocess.Popen[str]]
) -> None:
    """One that asks for exceptions has waited in vain in one of three or four runs, with gearmand too."""
    start("php", WORKERS["php"], pair)
    for number in range(8):
        client = start("php", CLIENTS["php"], pair)
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(f"text {number}\n")
        client.stdin.flush()
        assert select.select([client.stdout], [], [], 30.0)[0], "it waits for an answer that has come"
        assert client.stdout.readline() == f"TEXT {number}\n"
        client.kill()


def test_a_job_left_by_the_command_of_libgearman_runs_at_the_other_server(
    pair: tuple[ServerProcess, ServerProcess], until: Until, tmp_path: Path
) -> None:
    """Debian's `gearman` takes one server: with a dead one in GEARMAN_SERVERS it does nothing."""
    program = shutil.which("gearman", path="/usr/bin")
    assert program, "gearman is not installed (CONTRIBUTING.md lists the peers)"
    first, second = ([program, "-p", str(server.port), "-f", "f"] for server in pair)
    subprocess.run([*first, "-b", "acknowledged"], timeout=30, check=True)
    pair[0].signal(signal.SIGKILL)
    pair[0].wait()
    done = tmp_path / "done"
    worker = subprocess.Popen([*second, "-w", "--", "tee", "-a", str(done)])
    try:
        answer = subprocess.run([*second, "text"], capture_output=True, timeout=30, check=True)
        assert answer.stdout == b"text"
        until(lambda: b"acknowledged" in done.read_bytes())
    finally:
        worker.kill()
        worker.wait()
