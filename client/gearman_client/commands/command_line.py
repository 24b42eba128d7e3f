"""The common parts of both commands: usage errors, the job servers to use, and the exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final, NoReturn

from gearman_client.address import DEFAULT_PORT, Address, parse_address, parse_addresses
from gearman_client.errors import AddressError, GearmanError
from gearman_client.tls import Tls

DEFAULT_HOST: Final = "localhost"
# As in libgearman's commands, where these files exist.
DEFAULT_CA_FILE: Final = "/etc/ssl/certs/gearmand-ca.pem"
DEFAULT_CERTIFICATE: Final = "/etc/ssl/certs/gearman.pem"
DEFAULT_KEY: Final = "/etc/ssl/certs/gearman.key"
#: The environment variables that name the job servers; the first one that is set counts.
SERVER_VARIABLES: Final = ("GEARMAN_SERVERS", "GEARMAN_SERVER")


class ExitCode(IntEnum):
    """The exit codes of the commands."""

    SUCCESS = 0
    FAILURE = 1
    INTERRUPTED = 130


class UsageError(Exception):
    """The command line makes no sense; the message says why."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().rstrip()}")


def add_server_options(parser: argparse._ActionsContainer, *, long_names: bool) -> None:
    """Add -h, -p and the TLS options, which `server_addresses` evaluates."""
    host, port = (["-h", "--host"], ["-p", "--port"]) if long_names else (["-h"], ["-p"])
    parser.add_argument(*host, dest="host", metavar="HOST", help=f"job server host (default {DEFAULT_HOST})")
    parser.add_argument(*port, dest="port", metavar="PORT", help=f"job server port (default {DEFAULT_PORT})")
    parser.add_argument("--ssl", action="store_true", help="speak TLS; each of the files below implies it")
    parser.add_argument(
        "--ssl-ca-file",
        metavar="FILE",
        help=f"who may sign the server's certificate (default: {DEFAULT_CA_FILE}, else whom this system trusts)",
    )
    parser.add_argument(
        "--ssl-certificate", metavar="FILE", help=f"our own certificate (default: {DEFAULT_CERTIFICATE}, else none)"
    )
    parser.add_argument(
        "--ssl-key", metavar="FILE", help=f"its key (default: in the certificate's file; {DEFAULT_KEY} for that one)"
    )


def server_addresses(options: argparse.Namespace, environment: Mapping[str, str]) -> tuple[Address, ...]:
    """The job servers, with TLS if the options ask for it.

    Raises:
        AddressError: the options or the environment hold something that is not an address.
        UsageError: a key is given without its certificate.
    """
    return parse_addresses(_named(options.host, options.port, environment), _tls(options, environment))


def _tls(options: argparse.Namespace, environment: Mapping[str, str]) -> Tls | None:
    given = Tls(options.ssl_ca_file, options.ssl_certificate, options.ssl_key)
    if given == Tls() and not options.ssl:
        return None
    ca_file = given.ca_file or environment.get("GEARMAND_CA_CERTIFICATE") or _readable(DEFAULT_CA_FILE)
    certificate = given.certificate_file or environment.get("GEARMAN_CLIENT_PEM")
    key = given.key_file or environment.get("GEARMAN_CLIENT_KEY")
    if not certificate and _readable(DEFAULT_CERTIFICATE) and (key or _readable(DEFAULT_KEY)):
        certificate, key = DEFAULT_CERTIFICATE, key or DEFAULT_KEY
    if given.key_file and not certificate:
        raise UsageError("--ssl-key needs --ssl-certificate")
    return Tls(ca_file, certificate, key) if certificate else Tls(ca_file)


def _readable(path: str) -> str | None:
    """The path of a file, if there is one that this user may read."""
    return path if os.access(path, os.R_OK) else None


def _named(host: str | None, port: str | None, environment: Mapping[str, str]) -> tuple[Address, ...]:
    """The servers of the options; without options those of the environment, else this machine."""
    if host is None and port is None:
        named = next((environment[name] for name in SERVER_VARIABLES if environment.get(name)), DEFAULT_HOST)
        return parse_addresses(named)
    host = DEFAULT_HOST if host is None else host
    is_bare_ipv6 = host.count(":") > 1 and not host.startswith("[")
    address = Address(host) if is_bare_ipv6 else parse_address(host)
    return (address if port is None else parse_address(f"{Address(address.host, 0)}".rpartition(":")[0] + f":{port}"),)


def run(name: str, body: Callable[[], int]) -> int:
    """Run a command's body. Every outcome becomes an exit code and at most one line on standard error."""
    try:
        code = body()
        sys.stdout.flush()
    except (GearmanError, UsageError, AddressError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILURE
    except OSError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return ExitCode.FAILURE
    return code
