"""`python -m gearman_manager` is the command `gearman-manager`."""

from __future__ import annotations

from gearman_process.early_signals import gearman_manager

if __name__ == "__main__":
    gearman_manager()
