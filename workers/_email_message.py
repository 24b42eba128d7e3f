"""Turns the request of a `send_email` job into a message, and refuses requests that must not become one.

Every text that becomes a header is first checked for line breaks: with one, anybody who fills in the "subject" field of
a form could add their own headers and recipients. It knows nothing about the mail server.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import localtime, make_msgid
from typing import Any

REQUIRED = ("to", "subject", "body")
OPTIONAL = ("html", "cc", "bcc", "reply_to", "headers", "from")

# `name@host.example`, or `Somebody <name@host.example>`; the lengths are those of RFC 5321, section 4.5.3.1.
MAILBOX = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
LOCAL_PART = re.compile(r"[^\s\"(),:;<>@\[\\\].]+(?:\.[^\s\"(),:;<>@\[\\\].]+)*")
DOMAIN_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,75}")
# This module, the MIME library or mail servers write these: a job can't set them.
RESERVED_HEADERS = {
    *("from", "sender", "to", "cc", "bcc", "reply-to", "subject", "date", "message-id", "mime-version"),
    *("return-path", "received"),
}
RESERVED_PREFIXES = ("content-", "resent-")
# Control characters, line separators (str.splitlines splits at more than CR and LF), and halves of characters.
FORBIDDEN_CATEGORIES = {"Cc", "Zl", "Zp", "Cs"}


class EmailError(Exception):
    """The message could not be made or sent; the text gives the reason."""


@dataclass(frozen=True)
class Envelope:
    """A message, and the addresses for the SMTP conversation (only here are those of `bcc`)."""

    message: EmailMessage
    sender: str
    recipients: tuple[str, ...]


def build(request: Any, default_sender: str | None) -> Envelope:
    """The message that a job's JSON asks for. Raises EmailError, which names the key, for anything wrong in it."""
    check_keys(request)
    sender = one_mailbox("from", request.get("from") or default_sender)
    people = {key: mailboxes(key, request.get(key)) for key in ("to", "cc", "bcc", "reply_to")}
    recipients = dict.fromkeys(person.addr_spec for key in ("to", "cc", "bcc") for person in people[key])
    if not recipients:
        raise EmailError("to: there is no recipient")
    message = EmailMessage()
    message["From"] = sender
    for header, key in (("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to")):
        if people[key]:
            message[header] = people[key]
    message["Subject"] = header_text("subject", request["subject"])
    message["Date"] = localtime()
    message["Message-ID"] = make_msgid(domain=sender.domain)
    add_headers(message, request.get("headers") or {})
    add_body(message, request)
    return Envelope(message, sender.addr_spec, tuple(recipients))


def check_keys(request: Any) -> None:
    if not isinstance(request, dict):
        raise EmailError('the workload must be a JSON object such as {"to": ..., "subject": ..., "body": ...}')
    missing = [key for key in REQUIRED if key not in request]
    if missing:
        raise EmailError(f"missing: {', '.join(missing)}")
    unknown = [key for key in request if key not in REQUIRED + OPTIONAL]
    if unknown:
        raise EmailError(f"unknown: {', '.join(map(repr, unknown))}; allowed: {', '.join(REQUIRED + OPTIONAL)}")


def header_text(key: str, value: Any) -> str:
    """The value, if it is allowed in a header."""
    if not isinstance(value, str):
        raise EmailError(f"{key}: a text is needed")
    if any(unicodedata.category(character) in FORBIDDEN_CATEGORIES for character in value):
        raise EmailError(f"{key}: line breaks and control characters are not allowed in a header: {value!r}")
    # The library decodes such words when a header is set: `=?utf-8?q?=0D=0ABcc:...` would become a line break.
    if "=?" in value:
        raise EmailError(f"{key}: the characters =? are not allowed in a header; text needs no encoding: {value!r}")
    return value


def mailboxes(key: str, value: Any) -> tuple[Address, ...]:
    """The addresses of one text or a list of texts."""
    if value is None:
        return ()
    return tuple(one_mailbox(key, entry) for entry in (value if isinstance(value, list) else [value]))


def one_mailbox(key: str, value: Any) -> Address:
    if value is None:
        raise EmailError(f"{key}: an address is needed, in the job or as the setting smtp_from")
    text = header_text(key, value).strip()
    match = MAILBOX.fullmatch(text)
    name, address = (match["name"].strip().strip('"'), match["address"].strip()) if match else ("", text)
    local_part, _at, domain = address.rpartition("@")
    domain = ascii_domain(domain)
    if not LOCAL_PART.fullmatch(local_part) or len(local_part.encode()) > 64 or not domain:
        raise EmailError(f"{key}: {value!r} is not an e-mail address (one address per text; several go into a list)")
    return Address(name, local_part, domain)


def ascii_domain(domain: str) -> str:
    """The domain in the form for mail servers, or an empty text if it is not a valid domain."""
    try:
        encoded = domain if domain.isascii() else domain.encode("idna").decode("ascii")
    except UnicodeError:
        return ""
    valid = len(encoded) <= 253 and all(DOMAIN_LABEL.fullmatch(label) for label in encoded.split("."))
    return encoded if valid else ""


def add_headers(message: EmailMessage, headers: Any) -> None:
    if not isinstance(headers, Mapping):
        raise EmailError('headers: a JSON object such as {"X-Campaign": "spring"} is needed')
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name):
            raise EmailError(f"headers: {name!r} is not a name for a header")
        if name.lower() in RESERVED_HEADERS or name.lower().startswith(RESERVED_PREFIXES):
            raise EmailError(f"headers: {name} can't be set here")
        message[name] = header_text(f"headers: {name}", value)


def add_body(message: EmailMessage, request: Mapping[str, Any]) -> None:
    body, html = request["body"], request.get("html")
    if not isinstance(body, str) or not isinstance(html, str | None):
        raise EmailError("body and html: texts are needed")
    try:
        message.set_content(body)
        if html is not None:
            message.add_alternative(html, subtype="html")
    except UnicodeEncodeError as error:
        raise EmailError(f"body and html: there is half a character in the text ({error.reason})") from error
