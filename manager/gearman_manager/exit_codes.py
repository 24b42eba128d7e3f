"""The exit codes of `gearman-manager`; orchestrators rely on them."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILURE: Final = 1  #: a port, a socket or a permission stands in the way; or no manager answers
USAGE: Final = 2  #: click's own
CONFIGURATION: Final = 78  #: EX_CONFIG of sysexits.h: the configuration, or for `check` a module
INTERRUPTED: Final = 130  #: Ctrl-C, in a command that only waits; as shells count it
