"""What the job server and the manager both are: programs of a Unix system, with settings that people write.

In: a path, an account's name, the environment, a text such as `30s`. Out: a number, a held lock, or an error whose text
the program shows. It lies below both, knows neither, and takes nothing but the standard library.
Open `errors.py` first: what is raised here is a `ProcessError`, which server and manager turn into errors of their own.
"""
