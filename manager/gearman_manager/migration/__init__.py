"""For those who come from GearmanManager (PHP): its ini files and its command-line letters."""
