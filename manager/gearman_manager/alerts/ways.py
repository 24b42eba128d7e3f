"""The three ways of a message: mail, web address, program. Each waits, so none runs in the supervisor's process."""

from __future__ import annotations

import json
import os
import smtplib
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from signal import SIGKILL
from typing import Any, Final

from gearman_manager.alerts.message import Message
from gearman_manager.alerts.targets import Smtp, Target
from gearman_manager.errors import ManagerError

#: For each step of a mail or a request, and for a whole program.
STEP_S: Final = 10.0
PROGRAM_S: Final = 25.0
_LONGEST_REASON: Final = 300


class Undelivered(ManagerError):
    """A target did not take a message."""


def deliver(target: Target, message: Message) -> None:
    """Deliver a message to a target.

    Raises:
        Undelivered: the target does not take it.
    """
    try:
        if target.smtp is not None:
            _mail(target.smtp, target.mail, message)
        elif target.webhook is not None:
            _post(target.webhook, message)
        else:
            _run(target.command, target.folder, message)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise Undelivered(_reason(error)[:_LONGEST_REASON]) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _mail(smtp: Smtp, recipients: Sequence[str], message: Message) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.subject, smtp.sender, ", ".join(recipients)
    mail["Date"], mail["Message-ID"] = formatdate(localtime=True), make_msgid("gearman-manager")
    mail["Auto-Submitted"] = "auto-generated"  # so that no vacation message comes back (RFC 3834)
    mail.set_content(message.text)
    trust = ssl.create_default_context() if smtp.tls != "none" else None
    if smtp.tls == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(smtp.host, smtp.port, timeout=STEP_S, context=trust)
    else:
        server = smtplib.SMTP(smtp.host, smtp.port, timeout=STEP_S)
    with server:
        if smtp.tls == "starttls":
            server.starttls(context=trust)
        if smtp.user is not None and smtp.password is not None:
            server.login(smtp.user, smtp.password)
        server.send_message(mail)


def _post(url: str, message: Message) -> None:
    body = json.dumps(message.data).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "gearman-manager"}
    request = urllib.request.Request(url, body, headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirection)
    with opener.open(request, timeout=STEP_S):
        pass


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """What is sent to one address is not for another."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _run(command: Sequence[str], folder: str, message: Message) -> None:
    program = os.path.join(folder, command[0])
    words = [program if os.path.isfile(program) else command[0], *command[1:]]
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        words, cwd=folder, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        said, _ = child.communicate(json.dumps(message.data).encode(), PROGRAM_S)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"it did not end within {PROGRAM_S:g} s") from None
    finally:
        with suppress(OSError):
            os.killpg(child.pid, SIGKILL)  # what it has started does not stay behind
        child.wait()
    if child.returncode:
        last = said.decode(errors="backslashreplace").strip().rpartition("\n")[2]
        raise OSError(f"it ended with {child.returncode}" + (f": {last}" if last else ""))
