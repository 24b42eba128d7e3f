"""The command `drain`: this host takes nothing new, finishes, and the manager ends with 0."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from gearman_manager import exit_codes
from gearman_manager.command.context import ask, fail, folder_of_running, mistakes_are_messages
from gearman_manager.command.control_client import NotRunning, stream, wait_until_gone
from gearman_manager.command.words import left_of
from gearman_manager.migration.options import Seconds
from gearman_process.values.counting import counted
from gearman_process.values.durations import format_duration

Report = dict[str, Any]
#: How long the manager may take for its end when all workers are gone.
_END_S: Final = 30.0


@click.command(short_help="Take nothing new, finish, and end: the host goes away.")
@click.option(
    "--within",
    type=Seconds(),
    metavar="TIME",
    help="End within this time, such as 100s; what is unfinished then goes back into its queue.  "
    "[default: the configuration's drain.within; else as long as the jobs take]",
)
@click.option("--no-wait", is_flag=True, help="Return once no worker can begin a job any more.")
@click.pass_context
@mistakes_are_messages
def drain(context: click.Context, within: float | None, no_wait: bool) -> None:
    """Let this manager begin no job any more, finish the running ones, and end with exit code 0.

    For hosts that go away: spot instances, preStop hooks, scaling in. The first line comes when no worker can begin a
    job any more. Then the command waits for the end; Ctrl-C ends the command alone. A further `drain` moves the end,
    and `stop` makes jobs finish within their pool's `stop_timeout`.

    \b
    It ends with
      0    drained; with --no-wait: no worker can begin a job any more
      1    no manager runs, it is stopping already, or some workers may still begin a job (with --no-wait)
      130  Ctrl-C; the drain goes on

    \b
    Example: gearman-manager drain --within 100s
    """
    folder = folder_of_running(context)
    pid = folder.read_pid()
    try:
        body = {} if within is None else {"within": format_duration(within)}
        began = ask(context, "POST", "/drain", body)
        _warn(began["server"])
        if began["may_begin"] and no_wait:
            fail(f"draining, but {_may_begin(began)}", exit_codes.FAILURE)
        _say(began)
        if no_wait:
            return
        last = _follow(folder.socket, began)
        if pid is not None and not wait_until_gone(pid, _END_S):
            fail(f"all workers are gone, but the manager (pid {pid}) has not ended", exit_codes.FAILURE)
    except KeyboardInterrupt:
        click.echo("\nthe drain goes on: `status` shows it, `stop` ends it sooner", err=True)
        sys.exit(exit_codes.INTERRUPTED)
    if not last["over"]:
        fail("the manager ended without a word; its jobs run again elsewhere", exit_codes.FAILURE)
    back = last["returned"]
    click.echo(f"drained: {counted(back, 'unfinished job')} back in the queue" if back else "drained")


def _follow(socket: Path, report: Report) -> Report:
    """Show each change until the manager ends; returns the last report."""
    shown = _line(report)
    try:
        for line in stream(socket, "/drain?follow=1"):
            report = json.loads(line)
            if _line(report) != shown and not report["over"]:
                shown = _line(report)
                click.echo(shown)
    except NotRunning:
        return {**report, "over": True}  # all was finished before we could ask
    return report


def _say(report: Report) -> None:
    click.echo(_line(report))


def _line(report: Report) -> str:
    quiet = _may_begin(report) if report["may_begin"] else "no job is begun any more"
    return f"{quiet}; {left_of(report)}"


def _may_begin(report: Report) -> str:
    return f"may still begin a job, until they leave: {', '.join(report['may_begin'])}"


def _warn(server: Report | None) -> None:
    """Say what the end of the bundled job servers means for others."""
    if server is None:
        return
    several = server["instances"] > 1
    which = "the bundled job servers, which end" if several else "the bundled job server, which ends"
    keeps = "keep" if several else "keeps"
    if server["running_elsewhere"]:
        click.echo(
            f"{counted(server['running_elsewhere'], 'job')} of other workers run on {which} "
            "with this manager: what is not finished in time is lost with its connections",
            err=True,
        )
    if server["waiting"] and server["durable"]:
        click.echo(f"{counted(server['waiting'], 'job')} waiting: background jobs stay in the store", err=True)
    elif server["waiting"]:
        click.echo(
            f"{counted(server['waiting'], 'job')} waiting in {which} with this manager and "
            f"{keeps} them in memory: they will be LOST; server.store names a durable store",
            err=True,
        )
