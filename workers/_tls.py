"""The certificates that a module trusts when it speaks TLS as a client."""

import functools
import ssl

from _settings import SettingsError


@functools.cache
def client_context(ca_file: str | None) -> ssl.SSLContext:
    """A context that checks certificates and host names, against `ca_file` or else against the machine's own list.

    Reading that list takes some 20 ms, so each worker does it once.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise SettingsError(f"the file of certificates {ca_file} can't be used: {error.strerror}") from error
