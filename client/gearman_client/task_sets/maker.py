"""Makes tasks out of the arguments of calls. Pure: packets are made here and sent elsewhere.

Task sets, `map` and futures share it, so that each argument means the same in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Final

from gearman_client.address import Address
from gearman_client.client.codec import BYTES
from gearman_client.client.job_status import JobHandle
from gearman_client.client.submission import (
    UNSET,
    Encoded,
    Forms,
    Submission,
    SubmissionOptions,
    SubmissionSettings,
)
from gearman_client.packet import PacketType, encode_request
from gearman_client.task_sets.set_task import (
    BackgroundSetTask,
    SetTask,
    StatusSetTask,
    TaskRules,
    TaskSetOptions,
    task_rules,
)
from gearman_client.text import to_identifier

Servers = Callable[[], Sequence[Address]]

#: A program that calls more functions than that has their names from outside.
_MOST_MAKERS: Final = 100


class AddOptions(SubmissionOptions, TaskSetOptions, total=False):
    """The keyword arguments of a foreground task."""


class AddBackgroundOptions(SubmissionOptions, TaskSetOptions, total=False):
    """The keyword arguments of a background task.

    retries: of the job at the server, as with `Client.submit_background`: the client submits no background job twice.
    """


class TaskMaker:
    """Makes the tasks of one set. `servers` returns those that are known, and `rules` are those of a task that
    overrides none."""

    def __init__(self, submissions: SubmissionSettings, servers: Servers, rules: TaskRules) -> None:
        self._submissions = submissions
        self._servers = servers
        self._rules = rules
        #: Makers of the simplest tasks, by function: they need half of the time.
        self._makers: dict[str, Callable[[Any], SetTask[Any]]] = {}

    def foreground(self, function: str, workload: Any, json: Any, options: AddOptions) -> SetTask[Any]:
        """A job whose result is awaited.

        Raises:
            ArgumentError, TypeError: as `SubmissionSettings.foreground`; a limit is none.
        """
        if not options and workload is not UNSET and json is UNSET and isinstance(function, str):
            return self._maker_of(function)(workload)
        submission = self._submissions.foreground(function, workload, json, _of_the_job(options))
        task: SetTask[Any] = SetTask(function, workload, submission.forms.plain or b"", self._rules_of(options))
        _set(task, options, submission)
        if submission.codec is not BYTES:
            task.decode = submission.codec.decode
        return task

    def background(
        self, function: str, workload: Any, json: Any, options: AddBackgroundOptions, run_at: int | None
    ) -> SetTask[JobHandle]:
        """A job that is left with a server; `run_at` comes from `submission.when`.

        Raises:
            ArgumentError, TypeError: as `SubmissionSettings.background`; a limit is none.
        """
        submission = self._submissions.background(function, workload, json, options, run_at)
        task = BackgroundSetTask(function, workload, submission.forms.plain or b"", self._rules_of(options))
        _set(task, options, submission)
        return task

    def status(self, handle: str, options: TaskSetOptions) -> StatusSetTask:
        """A query by handle: at the server that gave it, if that is known.

        Raises:
            ArgumentError: the handle can't be sent.
        """
        packet = encode_request(PacketType.GET_STATUS, to_identifier(handle, "handle"))
        home: Address | None = getattr(handle, "server", None)
        servers = self._servers()
        is_known = home in servers
        asked = [each for each in servers if each == home or not is_known]
        task = StatusSetTask(packet, self._rules_of(options), PacketType.STATUS_RES, asked)
        task.asked_for, task.home = handle, home if is_known else None
        return task

    def status_unique(self, unique: str, options: TaskSetOptions) -> StatusSetTask:
        """A query by unique id.

        Raises:
            ArgumentError: the id can't be sent.
        """
        packet = encode_request(PacketType.GET_STATUS_UNIQUE, to_identifier(unique, "unique id"))
        return StatusSetTask(packet, self._rules_of(options), PacketType.STATUS_RES_UNIQUE, list(self._servers()))

    def many(self, function: str, options: AddOptions) -> Callable[[Any], SetTask[Any]]:
        """A function that makes the tasks of many workloads.

        Raises:
            ArgumentError: a name or a limit is none; from the returned function: a workload can't be sent.
        """
        if options.get("unique") is not None or options.get("reducer") is not None:
            return lambda workload: self.foreground(function, workload, UNSET, options)
        forms = self._submissions.encoder(function, _of_the_job(options), background=False)
        encode, rules, codec = forms.plain, self._rules_of(options), self._submissions.codec

        def task(workload: Any) -> SetTask[Any]:
            made: SetTask[Any] = SetTask(function, workload, b"" if encode is None else encode(workload), rules)
            if forms.with_options is not None:
                made.submission = Submission(
                    Forms(None if encode is None else made.packet, forms.with_options(workload), forms.names),
                    b"",
                    codec,
                )
            if type(workload) is Encoded:
                made.decode = workload.codec.decode
            elif codec is not BYTES:
                made.decode = codec.decode
            return made

        return task

    def _maker_of(self, function: str) -> Callable[[Any], SetTask[Any]]:
        maker = self._makers.get(function)
        if maker is None:
            if len(self._makers) >= _MOST_MAKERS:
                self._makers.clear()
            maker = self._makers[function] = self.many(function, {})
        return maker

    def _rules_of(self, options: Mapping[str, Any]) -> TaskRules:
        return task_rules(options, self._rules) if options else self._rules


def _of_the_job(options: AddOptions) -> SubmissionOptions:
    """The options without `retries`, which are those of the client for a job that it awaits."""
    if "retries" in options:
        options = options.copy()
        del options["retries"]
    return options


def _set(task: SetTask[Any], options: SubmissionOptions, submission: Submission) -> None:
    task.unique, task.key = options.get("unique"), submission.server_key
    if submission.forms.with_options is not None:
        task.submission = submission


def task_maker(
    submissions: SubmissionSettings, servers: Servers, timeout_s: float | None, options: TaskSetOptions
) -> TaskMaker:
    """The maker of a client with this limit for a call; `options` are those of the set.

    Raises:
        ArgumentError: a limit is none.
    """
    base = TaskRules(timeout_s=inf if timeout_s is None else timeout_s)
    return TaskMaker(submissions, servers, task_rules(options, base) if options else base)
