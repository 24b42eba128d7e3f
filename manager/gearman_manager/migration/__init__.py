"""Moving from GearmanManager (PHP): its ini files, and its one-letter options on our command line.

In: the text of an ini file, or letters such as `-D 4`. Out: our YAML, with a comment for each key that has no
counterpart, and `Overrides`, which win over the configuration file. `config_dump` writes a configuration back as YAML
(`-Z`). All of it converts and decides; files are read, and text is printed, by `command`. Open `import_ini` first.
"""
