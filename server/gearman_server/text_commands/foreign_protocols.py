"""Lines of other protocols. Their peers were led to the wrong port, by mistake or by somebody who means harm. Pure.

A web page can make the browser of its visitors send a request to any port, with any body; so can the people who choose
the URLs that a program of yours fetches. Were its header lines merely unknown commands, the lines and packets of its
body would be carried out. So the first such line ends the connection, with all that follows it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class ForeignLine(NamedTuple):
    """What a line belongs to, and the answer to it."""

    protocol: str
    answer: bytes


_TEXT: Final = b"this is a port of the Gearman protocol, not of HTTP\n"
#: In HTTP's form, for the person who tried it with a browser or curl. It repeats nothing of the request.
_HTTP: Final = ForeignLine(
    "HTTP",
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_TEXT), _TEXT),
)
_OTHER: Final = ForeignLine("another protocol", b"ERR UNKNOWN_COMMAND This+is+a+port+of+the+Gearman+protocol\r\n")

# `GET /path HTTP/1.1`, `PRI * HTTP/2.0`, and the same of RTSP, SIP and ICAP, with any method and in any case: even a
# command's name can be the method.
_VERSION: Final = rb"[ \t][A-Z]+/[0-9]+(\.[0-9]+)?[ \t]*\r*"
_REQUEST_LINE: Final = re.compile(rb"\S+[ \t]+(/|\*|\S*://).*" + _VERSION, re.IGNORECASE | re.DOTALL)
_WITH_VERSION: Final = re.compile(rb"\S+[ \t].*" + _VERSION + rb"|.*[ \t]HTTP/[0-9].*", re.IGNORECASE | re.DOTALL)
# HTTP/0.9, and a line whose end is hidden by other bytes.
_METHOD_AND_TARGET: Final = re.compile(
    rb"(GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH|PRI)[ \t]+(/|\*|[^ \t]*:)", re.IGNORECASE
)
# A header line, `Host: …`: no command ends with a colon.
_HEADER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")
# SSH, rsync, SMTP, DICT; requests of Redis (`*1`, `$4`), memcached and beanstalkd (before a line of any bytes), of
# syslog (`<34>1 …`) and in XML or JSON.
_OTHER_START: Final = re.compile(
    rb"SSH-|@RSYNCD:|[EHL]{2}LO[ \t\r]|CLIENT[ \t]|[*$][0-9]|(set|add|replace|append|prepend|cas) \S+( [0-9]+){3}"
    rb"|put( [0-9]+){4}|[<{\[]",
    re.IGNORECASE,
)


def foreign_line(line: bytes, *, is_command: bool) -> ForeignLine | None:
    """The protocol that a line belongs to, None if it may be a text command. `line` has no line feed; `is_command` says
    whether its first word is one."""
    line = line.lstrip(b" \t\r")
    if is_command:
        return _HTTP if b"/" in line and _REQUEST_LINE.fullmatch(line) else None
    if _WITH_VERSION.fullmatch(line) or _METHOD_AND_TARGET.match(line) or _HEADER.match(line):
        return _HTTP
    return _OTHER if _OTHER_START.match(line) else None
