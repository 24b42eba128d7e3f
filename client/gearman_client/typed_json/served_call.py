"""A task on the worker's side: called with the arguments of the workload, which are checked against the annotations."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from gearman_client.typed_json.call import encode_outcome, split_call
from gearman_client.typed_json.mismatch import CallRefused, Mismatch
from gearman_client.typed_json.signature import BoundCall, TaskSignature

#: The most unknown arguments that the log has told of once.
_MOST_TOLD: Final = 100

logger = logging.getLogger("gearman_client.worker")


class ServedCall:
    """The parameters of a task, prepared for many calls.

    refusal: raised, with a text, for a job that is to have no other attempt.
    """

    def __init__(self, signature: TaskSignature, refusal: Callable[[str], Exception] = CallRefused) -> None:
        """Make the readers of all parameters.

        Raises:
            UnsupportedAnnotation: JSON has no form for a parameter; the text names it.
        """
        self._read = signature.readers()
        #: What callers give, and get, as text.
        self.parameters = signature.shown
        self._refusal = refusal
        self._told: set[str] = set()

    def called_by(self, target: Callable[..., Any], *, is_async: bool) -> Callable[[Any], Any]:
        """A function of the job that calls `target`, the task's function, and returns the bytes of its result.

        It is a coroutine function if `target` is one.
        """

        def call(job: Any) -> bytes:
            bound = self._arguments(job)
            return self._encoded(target(*bound.args, **bound.kwargs))

        async def call_async(job: Any) -> bytes:
            bound = self._arguments(job)
            return self._encoded(await target(*bound.args, **bound.kwargs))

        return call_async if is_async else call

    def _arguments(self, job: Any) -> BoundCall:
        try:
            bound = self._read(*split_call(job.workload), job)
        except Mismatch as mismatch:
            raise self._refusal(str(mismatch)) from mismatch
        except RecursionError:
            raise self._refusal("the arguments are nested too deep") from None
        for name in bound.passed_over:
            if name not in self._told and len(self._told) < _MOST_TOLD:
                self._told.add(name)
                log = getattr(job, "log", logger)
                log.warning("passed over, because the function has no such parameter: %s", name)
        return bound

    def _encoded(self, result: object) -> bytes:
        """As bytes; a result without a form is no reason to do the work again."""
        try:
            return encode_outcome(result)
        except (TypeError, ValueError, RecursionError) as error:
            raise self._refusal(f"the result can't be sent: {error}") from error
