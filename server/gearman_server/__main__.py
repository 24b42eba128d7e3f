"""`python -m gearman_server` is `gearman-server`."""

from __future__ import annotations

from gearman_process.early_signals import gearman_server

gearman_server()
