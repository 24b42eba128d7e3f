"""A job that the server submits when others have ended: `then`, `on_failure`, and the callbacks of a batch. Pure."""

from __future__ import annotations

from typing import Unpack

from gearman_client.arguments import check_options
from gearman_client.client.job_options import to_pairs
from gearman_client.client.options import FollowUpOptions
from gearman_client.job_pairs import encode_link, split_pairs
from gearman_client.text import to_body, to_function, to_identifier


class FollowUp:
    """A background job of a function, with options of its own.

    workload: bytes or text; None: the result of the job before (`then`), or JSON about what has ended.
    unique: as for any submission.
    options: those of `submit_background`, but for `then`, `on_failure` and `batch`.

    Raises:
        ArgumentError: a value that can't be.
    """

    def __init__(
        self,
        function: str,
        workload: bytes | str | None = None,
        *,
        unique: str | None = None,
        **options: Unpack[FollowUpOptions],
    ) -> None:
        check_options("FollowUp", options, FollowUpOptions.__annotations__, ("function", "workload", "unique"))
        paired = to_pairs({**options, "unique": unique}, None, background=False)
        pairs = [] if paired is None else split_pairs(paired.encoded.rstrip(b"\0"))
        key = b"" if unique is None else to_identifier(unique, "unique")
        body = None if workload is None else to_body(workload)
        context = [] if paired is None else paired.context
        self._untraced = to_function(function), key, body, [pair for pair in pairs if pair not in context]
        #: As the server reads it.
        self.encoded = encode_link(*self._untraced[:3], pairs)

    @property
    def untraced(self) -> bytes:
        """The same without the context of the span in which it was made."""
        return encode_link(*self._untraced)
