"""The command `restart-server`: the bundled job servers are replaced one after the other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from gearman_manager import exit_codes
from gearman_manager.command.completion import instances
from gearman_manager.command.context import ask, fail, folder_of_running, mistakes_are_messages
from gearman_manager.command.control_client import stream
from gearman_manager.migration.options import Seconds
from gearman_process.values.counting import counted
from gearman_process.values.durations import format_duration, rough_duration

Report = dict[str, Any]


@click.command("restart-server", short_help="Replace the job servers, one after the other.")
@click.option("--instance", type=click.IntRange(min=1), metavar="N", shell_complete=instances, help="Only this one.")
@click.option(
    "--within",
    type=Seconds(),
    metavar="TIME",
    help="How long each may finish its running jobs; then it is ended all the same.  [default: 30s]",
)
@click.option("--force", is_flag=True, help="Also with server.store: memory, where jobs that wait are lost.")
@click.pass_context
@mistakes_are_messages
def restart_server(context: click.Context, instance: int | None, within: float | None, force: bool) -> None:
    """Replace the bundled job servers by new processes, one after the other, for instance after an upgrade.

    Each starts no job any more and finishes its running ones. Then a new process takes its ports, and when that serves
    and has workers again, the next server's turn comes. With server.instances, clients that know all of the servers go
    on with the others meanwhile. Background jobs stay in the durable store. Ctrl-C ends the command alone.

    \b
    It ends with
      0    they are replaced
      1    no manager runs, it refuses, or a server does not come up: those after it are not touched then
      130  Ctrl-C; the restart goes on

    \b
    Example: gearman-manager restart-server --instance 2 --within 10s
    """
    body = {"instance": instance, "within": None if within is None else format_duration(within), "force": force}
    try:
        began = ask(context, "POST", "/restart-server", body)
        last = _follow(folder_of_running(context).socket, began)
    except KeyboardInterrupt:
        click.echo("\nthe restart goes on: `logs` shows it", err=True)
        sys.exit(exit_codes.INTERRUPTED)
    failed = [server for server in last["servers"] if server["state"] == "failed"]
    untouched = sum(server["state"] == "waiting" for server in last["servers"])
    if failed:
        others = f"; {counted(untouched, 'other')} untouched" if untouched else ""
        reason = f"{_named(failed[0])} does not come up: {failed[0]['error']}"
        fail(f"{reason}. It is tried again and again, as after a crash{others}", exit_codes.FAILURE)
    if not last["over"] or any(server["state"] != "replaced" for server in last["servers"]):
        fail("the manager ended meanwhile, or is about to", exit_codes.FAILURE)


def _follow(socket: Path, report: Report) -> Report:
    """Show each step until the end; returns the last report."""
    shown: dict[str, str] = {}
    _show(report, shown)
    for line in stream(socket, "/restart-server?follow=1"):
        report = json.loads(line)
        _show(report, shown)
    return report


def _show(report: Report, shown: dict[str, str]) -> None:
    """Say what is new of each server; `shown` has the last words by the server's name."""
    for server in report["servers"]:
        words = _words(server, report["within_s"])
        if words and shown.get(server["name"]) != words:
            shown[server["name"]] = words
            click.echo(f"{_named(server)}: {words}")


def _words(server: Report, within_s: float) -> str:
    state = server["state"]
    if state == "finishing" and server["running"]:
        return f"finishes {counted(server['running'], 'running job')}, for {format_duration(within_s)} at most"
    if state == "replaced":
        return f"replaced in {rough_duration(server['took_s'])}, pid {server['pid_before'] or '-'} → {server['pid']}"
    return {"finishing": "ends", "starting": "starts", "connecting": "serves; its workers come back"}.get(state, "")


def _named(server: Report) -> str:
    return f"{server['name'].removeprefix('the ')} {server['address']}"
