"""Code that the job server and the manager share: both are Unix programs, with settings that people write.

In: a path, an account's name, the environment, a text such as `30s`. Out: a number, a held lock, or an error whose text
the program shows. The package lies below both, imports neither, and needs only the standard library;
the room `http` also needs h11.
Open `errors.py` first: every error here is a `ProcessError`, which server and manager turn into errors of their own.
"""
