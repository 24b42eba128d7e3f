"""The changes that an operator can make: what is asked of the control API, in which words, and how it is told. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gearman_manager.top.wording import shown
from gearman_process.errors import UnitError
from gearman_process.values.durations import parse_duration_s


class Mistake(ValueError):
    """What an operator has typed makes no sense; the text says what is expected."""


@dataclass(frozen=True, slots=True)
class Action:
    """A POST to the control API."""

    resource: str
    body: object
    #: The line that tells of it, from the API's answer.
    done: Callable[[Any], str]
    #: What is asked before; empty: nothing, as it hurts nobody.
    question: str = ""


def scale(pool: str, size: str) -> Action:
    """Give a pool another size, written as `4` or `2..8`.

    Raises:
        Mistake: that is no size.
    """
    low, dots, high = size.strip().partition("..")
    try:
        minimum, maximum = int(low), int(high) if dots else int(low)
    except ValueError:
        raise Mistake(f"{shown(size, 40)} is no size: write a number, as 4, or a range, as 2..8") from None
    return Action(
        f"{_of_pool(pool)}/scale",
        {"min": minimum, "max": maximum},
        lambda _: f"{shown(pool)}: {minimum}..{maximum} workers, until a reload",
    )


def pause(pool: str) -> Action:
    """Let a pool's workers finish, and start no others."""
    return Action(
        f"{_of_pool(pool)}/pause",
        None,
        lambda _: f"{shown(pool)} is paused",
        f"Pause {shown(pool)}? Its workers finish their jobs and leave, and its jobs wait until it is resumed.",
    )


def resume(pool: str) -> Action:
    """Let a paused pool go on."""
    return Action(f"{_of_pool(pool)}/resume", None, lambda _: f"{shown(pool)} goes on")


def restart(pool: str | None) -> Action:
    """Replace the workers of a pool, or of all."""
    name = "all pools" if pool is None else shown(pool)
    return Action(
        "/restart" + ("" if pool is None else f"?pool={quote(pool, safe='')}"),
        None,
        lambda _: f"restarting {name}",
        f"Replace the workers of {name}, one after the other? Each finishes its job first.",
    )


def reload() -> Action:
    """Load configuration and code anew."""
    return Action(
        "/reload",
        None,
        lambda _: "reloading; what is wrong with the new files comes up among the troubles",
        "Load configuration and code anew? Sizes that were given by hand are forgotten.",
    )


def drain(within: str) -> Action:
    """Begin no job any more, and end.

    Raises:
        Mistake: that is no duration.
    """
    try:
        within_s = parse_duration_s(within.strip()) if within.strip() else None
    except UnitError as error:
        raise Mistake(str(error)) from error
    most = "as long as they take" if within_s is None else f"at most {within.strip()}"
    return Action(
        "/drain",
        {} if within_s is None else {"within": within.strip()},
        lambda _: "draining: no job is begun any more",
        f"End this manager? No job is begun any more, and running ones have {most}. This can't be taken back.",
    )


def replace_worker(worker: str) -> Action:
    """Replace one worker."""
    return Action(
        f"/workers/{quote(worker, safe='')}/restart",
        None,
        lambda _: f"{shown(worker)} is replaced once its job is done",
        f"Replace {shown(worker)}? It finishes its job first.",
    )


def stop_job(worker: str, function: str, handle: str) -> Action:
    """Stop the job that a worker runs."""
    job = f"{shown(function, 60)} {shown(handle, 80)}"
    return Action(
        "/jobs/stop",
        {"handles": [handle]},
        lambda answer: f"{job} is stopped" if answer["stopped"] else f"{job} is not there any more",
        f"Stop the job that {shown(worker)} runs, {job}? What it has done so far is lost, and it is not run again.",
    )


def _of_pool(pool: str) -> str:
    return f"/pools/{quote(pool, safe='')}"
