"""The options that functions allow their jobs, and that clients may give them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gearman_client.extensions import INVALID_OPTION
from gearman_server.errors import RefusedError
from gearman_server.jobs.functions import check_function_name
from gearman_server.jobs.schedule_rules import TAG_PREFIX

if TYPE_CHECKING:
    from gearman_server.jobs.functions import Functions
    from gearman_server.options.job_options import Link


_FORGED: Final = b"\0tag=" + TAG_PREFIX
_ONLY_SCHEDULES: Final = b"tag: only jobs of schedules have one that begins with " + TAG_PREFIX


class Allowance:
    """The options that functions allow."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    def check(self, name: bytes, names: frozenset[str], pairs: bytes) -> None:
        """Refuse options, of these names and in these pairs, that the function does not allow, and the tag of a
        schedule, by which it is known how its runs have ended.

        Raises:
            RefusedError: there is such an option among these.
        """
        if "tags" in names and _FORGED in b"\0" + pairs:
            raise RefusedError(INVALID_OPTION, _ONLY_SCHEDULES)
        function = self._functions.by_name.get(name)
        policy = self._functions.policies.of(name) if function is None else function.policy
        allowed = policy.allow_options
        if allowed is not None and not names <= allowed:
            refused = ", ".join(sorted(names - allowed))
            known = ", ".join(sorted(allowed)) or "none"
            text = f"{refused}: the function does not allow it. It allows: {known}"
            raise RefusedError(INVALID_OPTION, text.encode())

    def check_link(self, link: Link) -> None:
        """Refuse a job that is to follow another if it could not be submitted.

        Raises:
            RefusedError: no function can have its name, or its function does not allow its options.
        """
        check_function_name(link.function)
        self.check(link.function, link.names, link.pairs)
