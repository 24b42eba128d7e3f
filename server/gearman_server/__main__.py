"""`python -m gearman_server` is `gearman-server`."""

from __future__ import annotations

from gearman_server.command.command_line import main

main()
