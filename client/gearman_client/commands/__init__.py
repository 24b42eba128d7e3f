"""The `gearman` and `gearadmin` commands, with the options and the output of the tools that people know."""
