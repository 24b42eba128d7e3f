"""The commands `jobs` and `dead`: what waits or runs on the job servers, batches of jobs, and what failed for good."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from gearman_manager.command.all_jobs import change_all, count, told
from gearman_manager.command.completion import batches, functions
from gearman_manager.command.context import ask, mistakes_are_messages
from gearman_manager.command.words import printed
from gearman_manager.errors import ManagerError, NotFound
from gearman_process.errors import UnitError
from gearman_process.values.counting import counted
from gearman_process.values.durations import format_duration, parse_duration_s

#: Changing very many jobs takes long.
CHANGE_TIMEOUT_S: Final = 300.0
_PAGE_LINES: Final = 1000
#: What a question calls the conditions that have texts.
_NOUNS: Final = {"tag": "tag", "key": "key", "unique": "unique key", "text": "text"}

Row = dict[str, Any]
Show = Callable[[Sequence[Row]], None]


class Duration(click.ParamType[float]):
    """`10m`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, context: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration_s(value)
        except UnitError as error:
            self.fail(str(error), param, context)


_older = click.option("--older", type=Duration(), metavar="DURATION", help="Only those of at least this age, as 10m.")
_tag = click.option("--tag", metavar="TEXT", help="Only those with this tag.")
_key = click.option("--key", metavar="TEXT", help="Only those with this key.")
_unique = click.option("--unique", metavar="TEXT", help="Only those with this unique key.")
_text = click.option("--text", metavar="TEXT", help="Only those with this in their workload, error or traceback.")
_since = click.option(
    "--since", type=Duration(), metavar="DURATION", help="Only those that came, or died, within that time, as 1h."
)
#: What those of a list have to meet, in the order of the help.
_CONDITIONS: Final = (_tag, _key, _unique, _text, _since, _older)
limit_option = click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Lines at most."
)
json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
_yes = click.option("--yes", is_flag=True, help="Don't ask.")


def _conditions(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that jobs of a list have to meet."""
    for option in reversed(_CONDITIONS):
        command = option(command)
    return command


@click.group(short_help="What waits and runs: list, show, cancel, stop, purge, batches.")
def jobs() -> None:
    """Look into the queues of the job servers, and cancel or stop what should not run."""


@jobs.command("list", short_help="List jobs that wait or run.")
@click.argument("function", required=False, shell_complete=functions)
@click.option(
    "--state", type=click.Choice(["waiting", "delayed", "running", "stopping", "cancelled"]), help="Only those."
)
@_conditions
@limit_option
@json_option
@click.pass_context
@mistakes_are_messages
def list_jobs(context: click.Context, /, limit: int, as_json: bool, **conditions: Any) -> None:
    """List the jobs that wait or run, of all functions or of FUNCTION, the oldest first."""
    from gearman_manager.command.job_view import show_jobs

    show_list(context, "jobs", _moments(conditions), limit, None if as_json else show_jobs)


@jobs.command("show", short_help="Show all that is known of a job.")
@click.argument("handle")
@json_option
@click.pass_context
@mistakes_are_messages
def show_job(context: click.Context, handle: str, as_json: bool) -> None:
    """Show all that is known of the job HANDLE, its workload included."""
    try:
        _show(context, "jobs", handle, as_json=as_json)
    except NotFound as error:
        raise NotFound(f"{error}{_what_is_kept(context, handle)}") from error


def _what_is_kept(context: click.Context, handle: str) -> str:
    """The command that tells of a job that is over; empty: nothing of it is kept."""
    try:
        ask(context, "GET", f"/jobs/attempts/{quote(handle, safe='')}")
    except ManagerError:
        return ""
    return f"; `gearman-manager jobs attempts {handle}` tells how its attempts ended"


@jobs.command("keys", short_help="List the keys of a function's jobs.")
@click.argument("function", shell_complete=functions)
@limit_option
@json_option
@click.pass_context
@mistakes_are_messages
def list_keys(context: click.Context, function: str, limit: int, as_json: bool) -> None:
    """List the keys of the jobs of FUNCTION, those with the most waiting jobs first: how many wait, run and may start
    now, and what holds the others."""
    from gearman_manager.command.job_view import show_keys

    show_list(context, "jobs/keys", {"function": function}, limit, None if as_json else show_keys)


@jobs.command("batches", short_help="List batches of jobs.")
@click.option("--state", type=click.Choice(["open", "closed", "done"]), help="Only those.")
@limit_option
@json_option
@click.pass_context
@mistakes_are_messages
def list_batches(context: click.Context, state: str | None, limit: int, as_json: bool) -> None:
    """List batches of jobs, the oldest first: open, closed (some jobs have not ended), or done within the last hour."""
    from gearman_manager.command.job_view import show_batches

    show_list(context, "jobs/batches", {"state": state}, limit, None if as_json else show_batches)


@jobs.command("batch", short_help="Show, close, cancel or stop a batch of jobs.")
@click.argument("batch_id", metavar="ID", shell_complete=batches)
@click.argument("change", metavar="[close|cancel|stop]", required=False, type=click.Choice(["close", "cancel", "stop"]))
@json_option
@click.pass_context
@mistakes_are_messages
def one_batch(context: click.Context, batch_id: str, change: str | None, as_json: bool) -> None:
    """Show how far the batch ID is, or change it.

    close: no job can be added; its callbacks follow when all have ended. cancel: close it and cancel its jobs; those
    that run are not interrupted, but nobody hears of their outcome. stop: the same, and stop those that run."""
    if change is None:
        _show(context, "jobs/batches", batch_id, as_json=as_json)
        return
    if as_json:
        raise click.UsageError("--json is for a batch that is shown")
    answer = ask(context, "POST", f"/jobs/batches/{change}", {"id": batch_id}, timeout_s=CHANGE_TIMEOUT_S)
    words = [f"{answer[word]} {word}" for word in ("cancelled", "stopped") if word in answer]
    click.echo("".join(words) or "closed")


@jobs.command(short_help="Cancel single jobs.")
@click.argument("handles", metavar="HANDLE...", nargs=-1, required=True)
@click.pass_context
@mistakes_are_messages
def cancel(context: click.Context, handles: tuple[str, ...]) -> None:
    """Cancel jobs. One that runs is not interrupted, but nobody hears of its outcome."""
    cancelled = ask(context, "POST", "/jobs/cancel", {"handles": list(handles)})["cancelled"]
    if cancelled < len(handles):
        raise ManagerError(f"{cancelled} of {len(handles)} cancelled: the others are over, or unknown")
    click.echo(f"{cancelled} cancelled")


def _chosen(noun: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options that choose jobs."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--all", "everything", is_flag=True, help="All of them."),
            *reversed(_CONDITIONS),
            click.option("--function", metavar="NAME", help=f"{noun} of this function.", shell_complete=functions),
            click.argument("handles", metavar="[HANDLE...]", nargs=-1),
        ):
            command = option(command)
        return command

    return decorate


@jobs.command("stop", short_help="Stop jobs, also while they run.")
@_chosen("Jobs")
@_yes
@click.pass_context
@mistakes_are_messages
def stop_jobs(context: click.Context, /, yes: bool, **choice: Any) -> None:
    """Stop jobs, by HANDLE or by conditions, in their functions too: these get JobStopped and can clean up. They are
    not tried again. Asks first where conditions choose; jobs that come after its question go on."""
    body = _choice(**choice)
    if "handles" not in body:
        found = count(context, "jobs", body)
        expected = found["waiting"] + found["delayed"] + found["running"]
        if expected and not yes:
            jobs_meant = f"{counted(expected, 'job')}{_of(body)}{_that(body)}"
            confirm(f"Stop {jobs_meant}? {_they(expected)} will not run again")
        told(change_all(context, "/jobs/all/stop", body, found, expected), "stopped")
        return
    handles = body["handles"]
    stopped = ask(context, "POST", "/jobs/stop", {"handles": list(handles)})["stopped"]
    if stopped < len(handles):
        raise ManagerError(f"{stopped} of {len(handles)} stopped: the others are over, or unknown")
    click.echo(f"{stopped} stopped")


@jobs.command(short_help="Cancel all that waits for a function, or has a tag.")
@click.argument("function", required=False, shell_complete=functions)
@_conditions
@_yes
@click.pass_context
@mistakes_are_messages
def purge(context: click.Context, /, yes: bool, **conditions: Any) -> None:
    """Cancel all jobs of FUNCTION, or with a tag, a key or a text, that wait for a worker, for their time or for a
    retry. Asks first."""
    body = _moments({name: value for name, value in conditions.items() if value is not None})
    if not body.keys() & {"function", "tag", "key", "unique", "text"}:
        raise click.UsageError("name a function, or choose by --tag, --key, --unique or --text")
    waits = f"for {body['function']}" if "function" in body else "for any function"
    found = count(context, "jobs", body)
    expected = found["waiting"] + found["delayed"]
    if not yes:
        if not expected:
            click.echo(f"0 cancelled: nothing{_that(body)} waits {waits}")
            return
        wait = "waits" if expected == 1 else "wait"
        confirm(f"Cancel {counted(expected, 'job')}{_that(body)} that {wait} {waits}? {_they(expected)} will not run")
    told(change_all(context, "/jobs/all/cancel", body, found, expected), "cancelled")


@click.group(short_help="What failed for good: list, show, retry, drop.")
def dead() -> None:
    """Look at background jobs that failed for good, try them again, or forget them."""


@dead.command("list", short_help="List jobs that failed for good.")
@click.argument("function", required=False, shell_complete=functions)
@_conditions
@limit_option
@json_option
@click.pass_context
@mistakes_are_messages
def list_dead(context: click.Context, /, limit: int, as_json: bool, **conditions: Any) -> None:
    """List the jobs that failed for good, of all functions or of FUNCTION, the oldest first."""
    from gearman_manager.command.job_view import show_dead

    show_list(context, "dead", _moments(conditions), limit, None if as_json else show_dead)


@dead.command("show", short_help="Show why a job failed.")
@click.argument("handle")
@json_option
@click.pass_context
@mistakes_are_messages
def show_letter(context: click.Context, handle: str, as_json: bool) -> None:
    """Show all that is known of the dead job HANDLE: its last error, the traceback, its workload."""
    _show(context, "dead", handle, as_json=as_json)


@dead.command(short_help="Try dead jobs again.")
@_chosen("Those")
@click.pass_context
@mistakes_are_messages
def retry(context: click.Context, /, **choice: Any) -> None:
    """Queue dead jobs again, by HANDLE or by conditions; their attempts are counted anew."""
    _change(context, "retry", _choice(**choice), "queued again")


@dead.command(short_help="Forget dead jobs.")
@_chosen("Those")
@_yes
@click.pass_context
@mistakes_are_messages
def drop(context: click.Context, /, yes: bool, **choice: Any) -> None:
    """Forget dead jobs, by HANDLE or by conditions. Asks first where conditions choose."""
    _change(context, "drop", _choice(**choice), "dropped", asks=not yes)


def show_list(
    context: click.Context, family: str, conditions: Mapping[str, Any], limit: int, show: Show | None
) -> None:
    """Print the jobs of all servers, up to the limit; without `show` as JSON. Conditions that are None are none.

    Raises:
        ManagerError: those of some servers are missing, which were not printed.
    """
    rows, there_may_be_more, missing = _rows(context, family, conditions, limit)
    if show is None:
        click.echo(json.dumps(rows, indent=2))
    else:
        show(rows)
        if there_may_be_more:
            click.echo(f"there may be more: --limit {limit} was reached", err=True)
    if missing:
        raise ManagerError("; ".join(missing))


def _rows(
    context: click.Context, family: str, conditions: Mapping[str, Any], limit: int
) -> tuple[list[Row], bool, list[str]]:
    """The jobs of all servers up to the limit, whether there may be more, and why those of some servers are missing."""
    chosen = {name: value for name, value in conditions.items() if value is not None}
    rows: list[Row] = []
    missing: list[str] = []
    position: dict[str, str] = {}
    while len(rows) < limit:
        query = {**chosen, **position, "limit": min(limit - len(rows), _PAGE_LINES)}
        answer = ask(context, "GET", f"/{family}?{urlencode(query)}")
        rows += answer["jobs"]
        missing += [answer["missing"]] if "missing" in answer else []
        if answer["next"] is None:
            return rows, False, missing
        position = {"cursor": answer["next"]}
    return rows, True, missing


def _moments(conditions: dict[str, Any]) -> dict[str, Any]:
    """The conditions as the manager takes them: a moment instead of the time since then."""
    if conditions.get("since") is None:
        return conditions
    return {**conditions, "since": time.time() - conditions["since"]}


def _of(choice: dict[str, Any]) -> str:
    return f" of {choice['function']}" if "function" in choice else ""


def _that(choice: dict[str, Any]) -> str:
    words = [f" with the {noun} {choice[name]}" for name, noun in _NOUNS.items() if name in choice]
    if "since" in choice:
        words.append(f" of the last {format_duration(round(time.time() - choice['since']))}")
    if "older" in choice:
        words.append(f" at least {format_duration(choice['older'])} old")
    return "".join(words)


def _they(number: int) -> str:
    return "It" if number == 1 else "They"


def _show(context: click.Context, family: str, handle: str, *, as_json: bool) -> None:
    from gearman_manager.command.job_view import show_one

    row = ask(context, "GET", f"/{family}/{quote(handle, safe='')}")
    if as_json:
        click.echo(json.dumps(row, indent=2))
    else:
        show_one(row)


def _choice(handles: tuple[str, ...], everything: bool, **conditions: str | float | None) -> dict[str, Any]:
    chosen = {**conditions, "all": everything or None}
    body = _moments({name: value for name, value in chosen.items() if value is not None})
    if bool(handles) == bool(body):
        raise click.UsageError("name handles, or choose by --function, --tag, --text and so on, or --all")
    if everything and len(body) > 1:
        raise click.UsageError("--all takes no other condition")
    return {"handles": list(handles)} if handles else body


def _change(context: click.Context, what: str, body: dict[str, Any], done: str, *, asks: bool = False) -> None:
    """Change dead jobs: by their handles, or those that match and are there now."""
    if "handles" not in body:
        found = count(context, "dead", body)
        if asks and found["count"]:
            jobs_meant = f"{counted(found['count'], 'dead job')}{_of(body)}{_that(body)}"
            confirm(f"Forget {jobs_meant}? {_they(found['count'])} can't be tried again then")
        told(change_all(context, f"/dead/all/{what}", body, found, found["count"]), done)
        return
    changed = ask(context, "POST", f"/dead/{what}", body, timeout_s=CHANGE_TIMEOUT_S)["changed"]
    missing = len(body["handles"]) - changed
    if missing > 0:
        reason = "is not there" if what == "drop" else "is not there, or its unique key belongs to another job now"
        raise ManagerError(f"{changed} of {changed + missing} {done}: each of the others {reason}")
    click.echo(f"{changed} {done}")


def confirm(question: str) -> None:
    """Ask the user. What others chose, such as the name of a function, does not act on the terminal.

    Raises:
        click.Abort, ManagerError: the answer is no, or nobody is there to give one.
    """
    try:
        click.confirm(printed(question), abort=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise ManagerError("nothing is changed: nobody here says yes, as --yes would") from None


GROUPS: Final = (jobs, dead)
