"""The targets that a configuration names."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

from gearman_manager.alerts.targets import Smtp, Target
from gearman_manager.config import Config
from gearman_manager.config.alert_keys import SMTP_PORT


def targets_of(config: Config) -> list[Target]:
    """All of them, in a settled order."""
    to, smtp, targets = config.alerts.to, config.alerts.smtp, []
    folder = os.path.dirname(os.path.abspath(config.places.main_file)) if config.places.main_file else os.getcwd()
    if to.mail:
        host, port = (smtp.server.host, smtp.server.port) if smtp.server is not None else ("localhost", SMTP_PORT)
        sender = smtp.sender or f"gearman-manager@{socket.gethostname()}"
        by = Smtp(host, port, sender, smtp.tls, smtp.user, smtp.password)
        targets.append(Target(f"mail to {', '.join(to.mail)}", mail=to.mail, smtp=by))
    for number, url in enumerate(to.webhook, 1):
        which = f" {number}" if to.webhook[1:] else ""
        targets.append(Target(f"webhook{which} at {urlsplit(url).netloc}", webhook=url))
    if to.command is not None:
        targets.append(Target(f"command {to.command[0]}", command=to.command, folder=folder))
    return targets
