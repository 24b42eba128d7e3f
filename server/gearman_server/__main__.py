"""`python -m gearman_server` is `gearman-server`."""

from gearman_server.command.command_line import main

main()
