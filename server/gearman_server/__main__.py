"""`python -m gearman_server` is `gearman-server`."""

from gearman_server.command_line import main

main()
