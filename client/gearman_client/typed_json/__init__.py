"""Python values as JSON, and back: the arguments of a task on their way to a worker, and its result on the way home.

In: values and annotations. Out: JSON, or values checked against the annotations; a mismatch names the field. Pure.
Open `call.py` first: it holds the form of a call. `plain.py` makes JSON values, `decoders.py` and `records.py` read
them by annotation, `signature.py` knows a function's parameters. Nothing here is loaded before a task is used.
"""
