"""The metrics of the manager, for Prometheus: `/metrics` of the control API.

In: the live objects of pools, scaler, job servers and log, read when somebody scrapes. Out: text in Prometheus' format,
or in OpenMetrics' for those who ask for it, in pieces, so that the supervisor's loop goes on between them.
Open `scrape.py` first: it goes through the families. `pool_families.py`, `function_families.py` and
`manager_families.py` declare them, each with its help; `pool_figures.py` reads a pool once for all of its families.
`exposition.py` writes the text; `federation.py` adds that of the bundled job servers; `routes.py` is the blueprint.
Nothing here decides anything.
"""
