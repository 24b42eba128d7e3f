"""The tasks among the functions of worker modules: their arguments come from the workload."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

from gearman_client.tasks.task import Task
from gearman_client.typed_json.served_call import ServedCall
from gearman_client.typed_json.signature import TaskSignature
from gearman_manager.verdict import Reject


def task_of(target: Any, *, takes_list: bool) -> ServedCall | None:
    """The task that a decorator made of a function, or that a decorated class serves with its `run`; else None.

    Raises:
        UnsupportedAnnotation: JSON has no form for a parameter.
    """
    if isinstance(target, Task):
        return ServedCall(target.signature, Reject)
    if takes_list or not isinstance(target, type):
        return None
    run = inspect.getattr_static(target, "run", None)
    if not isinstance(run, FunctionType):
        return None
    signature = TaskSignature(run, has_self=True)
    return ServedCall(signature, Reject) if signature.is_task else None
