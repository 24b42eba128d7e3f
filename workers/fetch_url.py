"""Fetches a web page: JSON {"url": ...} in, status, content type and body out.

The URL usually comes from somebody else, so much is refused: schemes other than http and https, addresses inside one's
own network (also in redirects), an endless body and an endless wait.
"""

import base64
import http.client
import socket
import ssl
import string
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from _deadline_http import Deadline, DeadlineConnection
from _public_addresses import Network, allowed_networks, checked_endpoints
from _settings import duration_s, size_bytes, text, whole_number
from _tls import client_context

from gearman_manager import Job

REDIRECTS = {301, 302, 303, 307, 308}
HEADERS = {"User-Agent": "gearman-manager fetch_url", "Accept": "*/*", "Connection": "close"}
MAX_URL_CHARACTERS = 8000
MAX_URL_SHOWN = 200


class FetchError(Exception):
    """The page could not be fetched; the text gives the reason."""


@dataclass(frozen=True)
class Limits:
    """The limits of the settings. A job can't change them, because senders of jobs may be less trusted."""

    total_s: float
    max_bytes: int
    max_redirects: int
    allowed: tuple[Network, ...]
    ca_file: str | None

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "Limits":
        return cls(
            total_s=duration_s(settings, "total_timeout", 10),
            max_bytes=size_bytes(settings, "max_size", 5_000_000),
            max_redirects=whole_number(settings, "max_redirects", 5, 0, 50),
            allowed=allowed_networks(settings),
            ca_file=text(settings, "ca_file", None),
        )


@dataclass(frozen=True)
class Answer:
    """The answer to one request: a page, or the next URL to fetch."""

    status: int
    content_type: str | None
    next_url: str | None
    body: bytes


def fetch_url(job: Job) -> dict[str, Any]:
    limits = Limits.read(job.settings)
    deadline = Deadline.after(limits.total_s)
    url = requested_url(job.json())
    for _hop in range(limits.max_redirects + 1):
        job.log.info("fetching %r", url)
        answer = fetch(url, limits, deadline)
        if answer.next_url is None:
            return page(url, answer)
        url = answer.next_url
    raise FetchError(f"more than {limits.max_redirects} redirects, the last one to {url!r}")


def requested_url(request: Any) -> str:
    if not isinstance(request, dict) or not isinstance(request.get("url"), str):
        raise FetchError('the workload must be JSON such as {"url": "https://example.com/"}')
    return str(request["url"])


def fetch(url: str, limits: Limits, deadline: Deadline) -> Answer:
    """Make one request. Every error becomes a FetchError that names the URL."""
    try:
        parts = checked_url(url)
        with closing(open_connection(parts, limits, deadline)) as connection:
            connection.request("GET", request_target(parts), headers=HEADERS)
            with connection.getresponse() as response:
                next_url = redirect_target(url, response)
                body = read_body(response, limits.max_bytes) if next_url is None else b""
                return Answer(response.status, response.getheader("Content-Type"), next_url, body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{url[:MAX_URL_SHOWN]!r}: {reason(error, limits)}") from error


def checked_url(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARACTERS:
        raise ValueError(f"a URL may have {MAX_URL_CHARACTERS} characters at most")
    if any(character < " " or character == "\x7f" for character in url):
        raise ValueError("a URL can't hold control characters")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"only http and https are fetched, not {parts.scheme or 'a URL without a scheme'}")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    if "@" in parts.netloc:
        raise ValueError("a user name or password in the URL is not accepted")
    if parts.port == 0:
        raise ValueError("port 0 can't be connected to")
    return parts


def open_connection(parts: SplitResult, limits: Limits, deadline: Deadline) -> DeadlineConnection:
    host = str(parts.hostname)
    host = host if host.isascii() else host.encode("idna").decode("ascii")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    tls = client_context(limits.ca_file) if parts.scheme == "https" else None
    endpoints = checked_endpoints(host, port, limits.allowed, deadline.remaining_s())
    return DeadlineConnection(host, port, endpoints, deadline, tls)


def request_target(parts: SplitResult) -> str:
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    return quote(target, safe=string.punctuation)


def redirect_target(url: str, response: http.client.HTTPResponse) -> str | None:
    location = response.getheader("Location")
    if response.status not in REDIRECTS or not location:
        return None
    # http.client reads headers as Latin-1; servers that send more than ASCII mean UTF-8.
    return urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))


def read_body(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise ValueError(f"the body is larger than the {max_bytes} bytes that max_size allows")
    if response.length:
        raise ConnectionError(f"the server ended the connection {response.length} bytes early")
    return body


def page(url: str, answer: Answer) -> dict[str, Any]:
    """The result, with the body as text if it is UTF-8, otherwise in base64: every byte can be recovered."""
    try:
        encoding, body = "utf-8", answer.body.decode("utf-8")
    except UnicodeDecodeError:
        encoding, body = "base64", base64.b64encode(answer.body).decode("ascii")
    return {
        "url": url,
        "status": answer.status,
        "content_type": answer.content_type,
        "encoding": encoding,
        "body": body,
    }


def reason(error: Exception, limits: Limits) -> str:
    match error:
        case TimeoutError():
            return f"no complete answer within the {limits.total_s:g} s that total_timeout allows"
        case socket.gaierror():
            return "the host name can't be resolved"
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not accepted: {error.verify_message}"
        case http.client.HTTPException():
            return f"the answer is not valid HTTP ({type(error).__name__})"
        case UnicodeError():
            return "the URL holds characters that a URL can't hold"
        case OSError(strerror=str(message)):
            return message
        case _:
            return str(error)
