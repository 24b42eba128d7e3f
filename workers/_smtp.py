"""The SMTP side of `send_email`: the server's settings, and a conversation that is kept for the next job.

A conversation is reused for at most 50 messages, not after 30 s of silence, and only after the server has answered a
NOOP; it is dropped after any error. This module never sends a message twice: after an error it can't know whether the
server took the first one. The function's `retries` are for repeating.
"""

import contextlib
import smtplib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from _email_message import EmailError, Envelope
from _settings import SettingsError, choice, duration_s, text, whole_number
from _tls import client_context

MAX_MESSAGES = 50
MAX_SILENCE_S = 30.0
DEFAULT_PORTS = {"none": 25, "starttls": 587, "tls": 465}


@dataclass(frozen=True)
class SmtpServer:
    """The mail server: its address, its encryption and our login."""

    host: str
    port: int
    encryption: str
    timeout_s: float
    login: tuple[str, str] | None = field(repr=False)
    tls: ssl.SSLContext | None

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "SmtpServer":
        encryption = choice(settings, "smtp_tls", "none", ("none", "starttls", "tls"))
        return cls(
            host=text(settings, "smtp_host", None) or "127.0.0.1",
            port=whole_number(settings, "smtp_port", DEFAULT_PORTS[encryption], 1, 65535),
            encryption=encryption,
            timeout_s=duration_s(settings, "smtp_timeout", 20),
            login=read_login(settings, encryption),
            tls=None if encryption == "none" else client_context(text(settings, "smtp_ca_file", None)),
        )


def read_login(settings: Mapping[str, Any], encryption: str) -> tuple[str, str] | None:
    user, password = text(settings, "smtp_user", None), text(settings, "smtp_password", None)
    if user is None and password is None:
        return None
    if user is None or password is None:
        raise SettingsError("smtp_user and smtp_password: only one of them is set, a login needs both")
    if encryption == "none":
        raise SettingsError("smtp_tls: starttls or tls is needed with smtp_user: no password is sent unencrypted")
    return user, password


class Conversation:
    """One connection to the server, opened for the first message."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._smtp: smtplib.SMTP | None = None
        self._messages = 0
        self._used_at = 0.0

    def send(self, envelope: Envelope) -> dict[str, str]:
        """Send the message. Returns the recipients that were refused, with the server's words."""
        sent = False
        try:
            smtp = self._ready()
            refused = smtp.send_message(envelope.message, envelope.sender, envelope.recipients)
            self._messages += 1
            self._used_at = time.monotonic()
            sent = True
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise EmailError(f"{self._server.host}:{self._server.port}: {explain(error)}") from error
        finally:
            # This includes the exception of a time limit: the state of the conversation is unknown then.
            if not sent:
                self._drop()
        return {address: answer(*reply) for address, reply in refused.items()}

    def close(self) -> None:
        """Say goodbye to the server, if connected, and close the connection."""
        if self._smtp is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                self._smtp.quit()
        self._drop()

    def _ready(self) -> smtplib.SMTP:
        if self._smtp is None or not self._reusable(self._smtp):
            self.close()
            self._smtp = connect(self._server)
            self._messages = 0
        return self._smtp

    def _reusable(self, smtp: smtplib.SMTP) -> bool:
        if self._messages >= MAX_MESSAGES or time.monotonic() - self._used_at > MAX_SILENCE_S:
            return False
        try:
            return smtp.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False

    def _drop(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None


def connect(server: SmtpServer) -> smtplib.SMTP:
    smtp: smtplib.SMTP
    if server.encryption == "tls":
        smtp = smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout_s, context=server.tls)
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=server.timeout_s)
    try:
        if server.encryption == "starttls":
            smtp.starttls(context=server.tls)
        if server.login:
            smtp.login(*server.login)
    except BaseException:
        smtp.close()
        raise
    return smtp


def answer(code: int, words: bytes | str) -> str:
    return f"{code} {words.decode('utf-8', 'replace') if isinstance(words, bytes) else words}"


def explain(error: Exception) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused():
            refusals = (f"{address}: {answer(*reply)}" for address, reply in error.recipients.items())
            return f"no recipient was accepted: {'; '.join(refusals)}"
        case smtplib.SMTPSenderRefused():
            return f"the sender {error.sender} was refused: {answer(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPAuthenticationError():
            return f"the login was refused: {answer(error.smtp_code, error.smtp_error)}"
        case smtplib.SMTPResponseException():
            return f"the server answered {answer(error.smtp_code, error.smtp_error)}"
        case TimeoutError():
            return "no answer within smtp_timeout"
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not accepted: {error.verify_message}"
        case OSError(strerror=str(message)):
            return message
        case _:
            return str(error)
