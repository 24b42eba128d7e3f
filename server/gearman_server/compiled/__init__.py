"""The compiled core: codec, broker, sessions and connections as extension modules, made by mypyc of the same sources.

Optional: without it, or if it does not fit, the server runs those sources as Python, and does the same. Out
comes which of the two runs. Open `choosing.py` first; `building.py` is `make compiled`.
"""
