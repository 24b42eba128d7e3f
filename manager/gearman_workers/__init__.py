"""The user's worker modules: `images.py` in the first workers folder is `gearman_workers.folder0.images`.

It is a real package, so that what a worker module defines can be pickled, and imported by that name in any process that
a worker starts, forked or not: the folders come from an environment variable that zygotes and workers set.
"""

from __future__ import annotations

from gearman_manager.modules.importing import prepare_from_environment

prepare_from_environment()
