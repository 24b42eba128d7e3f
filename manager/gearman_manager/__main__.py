"""`python -m gearman_manager` is the command `gearman-manager`."""

from __future__ import annotations

from gearman_manager.command.command_line import main

if __name__ == "__main__":
    main()
