"""Starts our server with its short times lengthened, because valgrind makes it slower by so much.

Otherwise it would find every worker late, wake others in its place, and have its peers take turns.
"""

from __future__ import annotations

from dataclasses import fields, replace

from gearman_process.early_signals import gearman_server
from gearman_server.broker_settings import BrokerSettings
from gearman_server.edge import listener
from gearman_server.jobs import wake_up
from gearman_server.process import memory

SLOWER = 100


def be_patient() -> None:
    """Lengthen the times."""
    for module, names in (
        (listener, ("PASS_S", "TURNS_S")),
        (wake_up, ("STAGE_S", "PATIENCE_S")),
        (memory, ("COLLECT_EVERY_S", "GIVE_BACK_EVERY_S")),
    ):
        for name in names:
            setattr(module, name, getattr(module, name) * SLOWER)
    settings = BrokerSettings()
    patient = replace(settings, grab_patience_s=settings.grab_patience_s * SLOWER)
    defaults = tuple(getattr(patient, field.name) for field in fields(patient))
    setattr(BrokerSettings.__init__, "__defaults__", defaults)  # noqa: B010 - else it is no method of that name


if __name__ == "__main__":
    be_patient()
    gearman_server()
