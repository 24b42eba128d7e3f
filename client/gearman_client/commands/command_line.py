"""The common parts of both commands: the options that name the job servers, and the exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import IntEnum
from typing import Final

from gearman_client.address import DEFAULT_PORT, Address, default_servers, parse_address, parse_addresses
from gearman_client.commands.options import Given, Option, UsageError
from gearman_client.commands.streams import STDERR, STDOUT, open_missing_streams, write_all
from gearman_client.commands.terminal import printable
from gearman_client.errors import GearmanError
from gearman_client.tls import Tls

DEFAULT_HOST: Final = "localhost"
# As in libgearman's commands, where these files exist.
DEFAULT_CA_FILE: Final = "/etc/ssl/certs/gearmand-ca.pem"
DEFAULT_CERTIFICATE: Final = "/etc/ssl/certs/gearman.pem"
DEFAULT_KEY: Final = "/etc/ssl/certs/gearman.key"

TLS_OPTIONS: Final = (
    Option("S", "ssl", "", "speak TLS; each of the files below implies it"),
    Option("", "ssl-ca-file", "FILE", "who may sign the server's certificate", "file"),
    Option("", "ssl-certificate", "FILE", "our own certificate", "file"),
    Option("", "ssl-key", "FILE", "its key, if it is not in the same file", "file"),
)


class ExitCode(IntEnum):
    """The exit codes of the commands."""

    SUCCESS = 0
    FAILURE = 1
    INTERRUPTED = 130


def server_options(*, long_names: bool) -> tuple[Option, ...]:
    """-h, -p and the options of TLS, which `server_addresses` evaluates."""
    host, port = ("host", "port") if long_names else ("", "")
    return (
        Option("h", host, "HOST", f"job server, or several: HOST[:PORT],... (default: {DEFAULT_HOST})"),
        Option("p", port, "PORT", f"port of each HOST without one (default: {DEFAULT_PORT})"),
        *TLS_OPTIONS,
    )


def server_addresses(given: Given, environment: Mapping[str, str]) -> tuple[Address, ...]:
    """The job servers, with TLS if the options ask for it.

    Raises:
        AddressError: the options or the environment hold something that is not an address.
        UsageError: a key is given without its certificate.
    """
    hosts = given.all("host") or given.all("h")
    port = given.last("port") or given.last("p")
    return parse_addresses(_named(hosts, port, environment), _tls(given, environment))


def _tls(given: Given, environment: Mapping[str, str]) -> Tls | None:
    named = Tls(*(path_of(given, name) for name in ("ssl-ca-file", "ssl-certificate", "ssl-key")))
    if named == Tls() and "ssl" not in given:
        return None
    ca_file = named.ca_file or environment.get("GEARMAND_CA_CERTIFICATE") or _readable(DEFAULT_CA_FILE)
    certificate = named.certificate_file or environment.get("GEARMAN_CLIENT_PEM")
    key = named.key_file or environment.get("GEARMAN_CLIENT_KEY")
    if not certificate and _readable(DEFAULT_CERTIFICATE) and (key or _readable(DEFAULT_KEY)):
        certificate, key = DEFAULT_CERTIFICATE, key or DEFAULT_KEY
    if named.key_file and not certificate:
        raise UsageError("--ssl-key needs --ssl-certificate")
    return Tls(ca_file, certificate, key) if certificate else Tls(ca_file)


def path_of(given: Given, name: str) -> str | None:
    """The value of an option that is the name of a file; None if it was not given."""
    word = given.last(name)
    return None if word is None else as_path(word)


def _readable(path: str) -> str | None:
    """The path of a file, if there is one that this user may read."""
    return path if os.access(path, os.R_OK) else None


def _named(hosts: Sequence[str], port: str | None, environment: Mapping[str, str]) -> tuple[Address, ...]:
    """The servers of the options; without options those of the environment, else this machine."""
    if not hosts and port is None:
        return parse_addresses(default_servers(environment, DEFAULT_HOST))
    number = DEFAULT_PORT if port is None else parse_address(f"{DEFAULT_HOST}:{_number_of(port)}").port
    parts = [part.strip() for host in hosts or [DEFAULT_HOST] for part in host.split(",") if part.strip()]
    return parse_addresses([_with_port(part, number) for part in parts])


def _with_port(text: str, port: int) -> Address:
    """The address; `port` if the text has none. An IPv6 address may stand without brackets."""
    if text.count(":") > 1 and not text.startswith("["):
        return Address(text, port)
    address = parse_address(text)
    has_port = ":" in text.rpartition("]")[2]
    return address if has_port else replace(address, port=port)


def _number_of(port: str) -> str:
    """The port's number, also for the name of a service, such as `gearman`."""
    if port.isdigit() or not port.isascii():
        return port
    import socket

    try:
        return str(socket.getservbyname(port))
    except OSError:
        return port


def as_utf8(arguments: Sequence[str]) -> list[str]:
    """Words of the command line whose bytes are those that the user typed, whatever the locale's encoding is."""
    return [os.fsencode(word).decode("utf-8", "surrogateescape") for word in arguments]


def as_path(word: str) -> str:
    """A word of `as_utf8` as the operating system's functions take it, and programs that are started."""
    return os.fsdecode(word.encode("utf-8", "surrogateescape"))


def complain(name: str, reason: object) -> None:
    """Write one message to standard error, where parts of it may come from a peer; nobody may be there to read it."""
    lines = "\n".join(map(printable, f"{name}: {reason}".split("\n")))
    with suppress(OSError):
        write_all(STDERR, f"{lines}\n".encode("utf-8", "replace"))


def end_by_unwinding(number: signal.Signals) -> None:
    """Have a signal end the process by way of its context managers, with a shell's exit code for it."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signal.signal(number, end)


def run(name: str, body: Callable[[], int]) -> int:
    """Run a command's body. Every outcome becomes an exit code and at most one message on standard error."""
    open_missing_streams()
    try:
        return body()
    except (GearmanError, UsageError) as error:
        complain(name, error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe: it has what it wanted.
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    except OSError as error:
        complain(name, f"{error.filename}: {error.strerror}" if error.filename else error)
    return ExitCode.FAILURE
