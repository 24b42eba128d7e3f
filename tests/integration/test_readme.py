"""The commands on the documentation's pages are run unchanged, and their output is compared with the one shown.

In a page, a block of the language
  console           holds `$ COMMAND` lines, each with its whole output below,
  console NAME      is the terminal NAME, in which a program keeps running: the lines are awaited there in this order,
                    `$ COMMAND` starts the program, `^C` interrupts it and waits for its end; where nothing is shown
                    below it, the command ends with the port on which the program listens,
  python, php       is a program; the comment behind a `print` or `echo` is what it prints,
  python            with a first line `# FOLDER/FILE.py` is a module, and is saved there,
  sh                is not run.
In what is expected `...` stands for anything, and any run of blanks for any other.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from gearman_manager.config import reference

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0
#: The pages whose examples need a manager that runs.
CLIENT_PAGES = sorted(f"docs/client/{page.name}" for page in ROOT.glob("docs/client/*.md"))
PAGES = ("docs/writing-functions.md", "docs/client.md", "docs/from-celery.md", "docs/outbox.md", *CLIENT_PAGES)
PARTS = ("Makefile", "pyproject.toml", "client/pyproject.toml", "config", "workers")
START = "$ make run\n...\n... INFO    queues: job server 127.0.0.1:4730 answers...\n"

#: The manager asks the job server for its counts once a second, and a relay needs a moment: these commands may have to
#: be repeated.
QUESTION = re.compile(r"(gearadmin --status|gearman-manager .*status|outbox list sqlite:///shop.db)$")
PRINTED = {"python": re.compile(r"^ *print\(.*\)  # (.*)$", re.M), "php": re.compile(r"^ *echo .*;  // (.*)$", re.M)}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    line: int
    language: str
    terminal: str
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    for match in re.finditer(r"^```(\w+) ?(\w*)\n(.*?)^```$", page, re.M | re.S):
        yield Block(page.count("\n", 0, match.start()) + 1, match[1], match[2], match[3])


def squeezed(text: str) -> str:
    """The text without blanks at the ends of lines, and with single ones elsewhere."""
    return "\n".join(re.sub(r"[ \t]+", " ", line.strip()) for line in text.strip("\n").split("\n"))


def pattern_of(expected: str) -> re.Pattern[str]:
    """A pattern for the output where `expected` is shown."""
    pattern = ""
    for line in squeezed(expected).split("\n"):
        pattern += r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*?") + r"\n"
    return re.compile(pattern)


class Terminal:
    """A program in the foreground of a terminal of its own, and its output so far."""

    def __init__(self, command: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._printed = ""
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def expect(self, expected: str) -> None:
        """Wait until these lines have been printed, after the lines that were expected before."""
        pattern = pattern_of(expected)
        deadline = time.monotonic() + DEADLINE_S
        with self._news:
            while (match := pattern.match(self._printed)) is None:
                if self._ended or not self._news.wait(deadline - time.monotonic()):
                    pytest.fail(f"expected:\n{expected}\nprinted:\n{self._printed}")
            self._printed = self._printed[match.end() :]

    @property
    def unread(self) -> str:
        """The output that has not been expected so far."""
        with self._news:
            return self._printed

    def interrupt(self) -> None:
        """Ctrl-C: sent to every process in the terminal's foreground. Waits for the end."""
        os.killpg(self._process.pid, signal.SIGINT)
        self.wait()

    def wait(self) -> None:
        """Wait until the program has ended by itself."""
        self._process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)

    def destroy(self) -> None:
        """End the program in any case."""
        if self._process.poll() is None:
            try:
                self.interrupt()
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._printed += squeezed(line.decode(errors="replace")) + "\n"
                self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()


class Reader:
    """A person who does everything that a page says, in a copy of the project and on free ports."""

    def __init__(self, folder: Path, run_dir: Path) -> None:
        self.folder = folder
        self.left_out: list[str] = []
        self._ports = {"4730": free_port(), "2525": free_port()}
        self._terminals: dict[str, Terminal] = {}
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("SMTP_")}
        self._environment |= {
            "GEARMAN_PORT": self._ports["4730"],
            "GEARMAN_SERVERS": f"127.0.0.1:{self._ports['4730']}",
            "XDG_RUNTIME_DIR": str(run_dir),
            "PYTHONUNBUFFERED": "1",
        }

    def follow(self, page: Path) -> None:
        """Do everything that the page shows, from top to bottom."""
        for block in blocks_of(page.read_text()):
            try:
                self.do(block)
            except BaseException as error:
                error.add_note(f"at {page}:{block.line}")
                for name, terminal in self._terminals.items():
                    error.add_note(f"the terminal {name!r} has also shown:\n{terminal.unread}")
                raise

    def do(self, block: Block) -> None:
        text = block.text
        for written, port in self._ports.items():
            text = re.sub(rf"\b{written}\b", port, text)
        module = re.match(r"# (\w+/\w+\.py)\n", text)
        if block.language == "console" and block.terminal:
            self._use_terminal(block.terminal, text)
        elif block.language == "console":
            for command, expected in commands_of(text):
                self._compare(command, expected)
        elif module:
            self._save(module[1], text)
        elif block.language in PRINTED:
            self._run_program(block.language, text)

    def leave(self) -> None:
        """Close all terminals."""
        for terminal in self._terminals.values():
            terminal.destroy()

    def _use_terminal(self, name: str, text: str) -> None:
        for step in re.split(r"^(?=\$ )|(?<=^\^C\n)|^(?=\^C$)", text, flags=re.M):
            if step == "^C\n":
                self._terminals[name].interrupt()
            elif step.startswith("$ "):
                command, _, expected = step[2:].partition("\n")
                if name in self._terminals:
                    self._terminals[name].wait()
                self._terminals[name] = Terminal(command, self.folder, self._environment)
                if expected:
                    self._terminals[name].expect(expected)
                else:
                    wait_until_listening(int(command.rpartition(":")[2]))
            elif step:
                self._terminals[name].expect(step)

    def _compare(self, command: str, expected: str) -> None:
        pattern = pattern_of(expected)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            printed = self._output(["/bin/bash", "-c", command])
            if pattern.fullmatch(squeezed(printed) + "\n"):
                return
            if not QUESTION.search(command) or time.monotonic() > deadline:
                pytest.fail(f"$ {command}\nexpected:\n{expected}\nprinted:\n{printed}")

    def _run_program(self, language: str, text: str) -> None:
        if language == "php" and not php_speaks_gearman():
            self.left_out.append("php with its extension gearman")
            return
        command: list[str | Path] = [self.folder / ".venv/bin/python", "-"] if language == "python" else ["php"]
        printed = self._output(command, text)
        expected = "\n".join(PRINTED[language].findall(text))
        assert pattern_of(expected).fullmatch(squeezed(printed) + "\n"), f"{text}\nprinted:\n{printed}"

    def _output(self, command: Sequence[str | Path], text: str | None = None) -> str:
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return result.stdout

    def _save(self, name: str, text: str) -> None:
        fresh = self.folder / f"{name}.fresh"
        fresh.parent.mkdir(exist_ok=True)
        fresh.write_text(text)
        fresh.rename(self.folder / name)


def commands_of(text: str) -> Iterator[tuple[str, str]]:
    """Each command with the output that is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        yield command, expected


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def wait_until_listening(port: int) -> None:
    """Wait for a program that says nothing when it is ready."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), DEADLINE_S).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def php_speaks_gearman() -> bool:
    if shutil.which("php") is None:
        return False
    question = ["php", "-r", "exit(extension_loaded('gearman') ? 0 : 1);"]
    return subprocess.run(question, timeout=DEADLINE_S, check=False).returncode == 0


def project_files() -> list[str]:
    """The files of a fresh checkout, without modules that somebody who followed the README has put into workers/."""
    if shutil.which("git") is None:
        return all_files()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *PARTS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return listed.stdout.rstrip("\0").split("\0")
    return all_files()


def all_files() -> list[str]:
    """The files of a copy that is no clone, such as an unpacked sdist."""
    files = [file for part in PARTS for file in [ROOT / part, *(ROOT / part).rglob("*")] if file.is_file()]
    return [str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A copy of the checkout whose set-up is done: `.venv` is the environment that runs the tests."""
    folder = tmp_path / "project"
    for name in project_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    environment = folder / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".installed":
            (environment / entry.name).symlink_to(entry)
    (environment / ".installed").touch()  # newer than all that `make setup` looks at
    with tempfile.TemporaryDirectory() as run_dir:  # not below tmp_path: a socket's path is short
        someone = Reader(folder, Path(run_dir))
        yield someone
        someone.leave()


def test_the_readme_can_be_followed_from_top_to_bottom(reader: Reader) -> None:
    reader.follow(ROOT / "README.md")
    if reader.left_out:
        pytest.skip(f"not installed: {', '.join(reader.left_out)}")


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_work_with_a_manager_that_runs(reader: Reader, page: str) -> None:
    reader.do(Block(0, "console", "manager", START))
    reader.follow(ROOT / page)


def test_every_link_of_the_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "client").glob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_the_configuration_page_is_generated_from_the_models() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    assert reference.with_tables(page) == page, "run `make docs`"
    assert set(re.findall(r"<!-- keys of (\w+)", page)) == set(reference.SECTIONS)


def test_a_difference_between_page_and_output_is_noticed(reader: Reader) -> None:
    with pytest.raises(pytest.fail.Exception, match="expected:\nhullo\n"):
        reader.do(Block(0, "console", "", "$ echo hello\nhullo\n"))
    with pytest.raises(AssertionError):
        reader.do(Block(0, "python", "", "print(1)  # 2\n"))
