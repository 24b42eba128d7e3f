"""The exit codes of `gearman-manager`; orchestrators rely on them."""

from __future__ import annotations

from typing import Final

OK: Final = 0
FAILURE: Final = 1  # a port, a socket, a permission; or the manager that was asked is not there
USAGE: Final = 2  # click's own
CONFIGURATION: Final = 78  # EX_CONFIG of sysexits.h: the configuration, or for `check` a module
