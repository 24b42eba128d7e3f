"""PHP functions in a workers folder: the worker program that serves them (PHP), and how it is found and run."""
