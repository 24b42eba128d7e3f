"""The running code: generations of the user's modules, each in a zygote that has loaded it.

In: a configuration, and the news that files changed or a zygote died. Out: the `Accepted` generation, for which the
pools are then arranged, or the problems because of which the old one goes on.
Open `generations.py` first; `code_loading.py` has a zygote load the modules that can be loaded, `source_watch.py`
notices changes. The modules themselves are never imported here.
"""
