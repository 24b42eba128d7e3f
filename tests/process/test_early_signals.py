"""Signals before a program is ready: noted, taken, or let go. Each case has a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

START = "import os, signal; from gearman_process import early_signals; early_signals.note_all()\n"


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", START + program], capture_output=True, text=True, check=False)


def test_noted_signals_are_taken_once_in_their_order() -> None:
    ended = run("""
for name in ("USR1", "TERM", "HUP", "USR1"):
    signal.raise_signal(signal.Signals[f"SIG{name}"])
print([signal.Signals(n).name for n in early_signals.take(early_signals.ENDING)])
print([signal.Signals(n).name for n in early_signals.take()], early_signals.take())
""")
    assert ended.stdout == "['SIGTERM']\n['SIGUSR1', 'SIGHUP'] []\n"


def test_a_signal_that_came_while_it_was_blocked_is_noted() -> None:
    ended = run("""
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
signal.raise_signal(signal.SIGUSR1)
early_signals.note_all()
print(early_signals.take() == [signal.SIGUSR1])
""")
    assert ended.stdout == "True\n"


def test_signals_that_are_let_go_act_as_if_nothing_had_noted_them() -> None:
    assert run("signal.raise_signal(signal.SIGHUP); early_signals.let_go()").returncode == -signal.SIGHUP
    assert run("early_signals.let_go(); signal.raise_signal(signal.SIGTERM)").returncode == -signal.SIGTERM


def test_handlers_that_the_program_has_set_since_are_left_alone() -> None:
    ended = run("signal.signal(signal.SIGHUP, signal.SIG_IGN); early_signals.let_go(); os.kill(os.getpid(), 1)")
    assert ended.returncode == 0


def test_ignored_signals_do_nothing_to_the_end() -> None:
    ended = run("""
early_signals.ignore_all()
for number in early_signals.NOTED:
    signal.raise_signal(number)
""")
    assert ended.returncode == 0
