"""The sections `alerts` and `otel`: who is told of troubles, and which; where metrics and traces are sent. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator

from gearman_client.address import Address
from gearman_manager.config import values as v
from gearman_manager.config.address import parse_address
from gearman_manager.config.section import Section, shown_default
from gearman_process.values.quoting import shown

_MAIL: Final = r"[^\s@,;<>\"()\\]{1,64}@[^\s@,;<>\"()\\]{1,255}"
_TLS: Final = ("none", "starttls", "tls")
SMTP_PORT: Final = 25


def _mail(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not re.fullmatch(_MAIL, value):
        raise ValueError(f"a mail address such as ops@example.com is expected, not {shown(value)}")
    return value


def _url(value: object) -> str:
    text = v.parse_text(value)
    try:
        parts = urlsplit(text)
        is_web = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        is_web = False
    if not is_web or not text.isascii() or not text.isprintable() or " " in text:
        # It may hold a secret, so it is not shown.
        raise ValueError("an address such as https://chat.example.com/hook is expected, without a user")
    return text


def _smtp_server(value: object) -> Address:
    if isinstance(value, str) and ":" not in value:
        value = f"{value}:{SMTP_PORT}"
    return parse_address(value)


MailAddress = Annotated[str, PlainValidator(_mail), v.schema("mail address", {"type": "string"})]
WebAddress = Annotated[str, PlainValidator(_url), v.schema("URL", {"type": "string"})]
SmtpServer = Annotated[Address, PlainValidator(_smtp_server), v.schema("address", {"type": ["string", "integer"]})]
SmtpTls = Annotated[
    str, PlainValidator(v.choice(_TLS)), v.schema("`none`, `starttls` or `tls`", {"type": "string", "enum": list(_TLS)})
]


class AlertTargets(Section):
    """Who is told. All that are named are."""

    mail: Annotated[tuple[MailAddress, ...], v.one_or_several] = Field(
        default=(), description="Send mails to these addresses, by `smtp`.", examples=["ops@example.com"]
    )
    webhook: Annotated[tuple[WebAddress, ...], v.one_or_several] = Field(
        default=(),
        repr=False,
        description="Send the message as JSON in a POST request to these addresses.",
        examples=["https://chat.example.com/hooks/123"],
    )
    command: v.Command | None = Field(
        default=None,
        description="Run this program for each message, in the folder of the configuration, with the JSON as its "
        "standard input.",
        examples=["notify.sh"],
    )


class AlertRules(Section):
    """What they are told of. A rule that is not named does not hold."""

    waiting: v.PositiveDuration | None = Field(
        default=None, description="Jobs of a function wait for longer than this.", examples=["5m"]
    )
    failures: v.Rate | None = Field(
        default=None,
        description="So many jobs of a pool failed in so long, each attempt counted.",
        examples=["20/5m"],
    )
    dead: v.Positive | None = Field(
        default=None,
        description="So many background jobs of a function have failed for good within the last hour.",
        examples=[1],
    )
    crash_loop: v.Flag = Field(default=False, description="The workers of a pool die as soon as they are replaced.")
    no_jobs: Annotated[Mapping[v.FunctionName, v.PositiveDuration], v.is_mapping] = Field(
        default={}, description="By function, how long it may have no job at all.", examples=[{"send_email": "1h"}]
    )
    server_down: v.PositiveDuration | None = Field(
        default=None, description="A job server has not answered for this long.", examples=["30s"]
    )
    peer_down: v.PositiveDuration | None = Field(
        default=None, description="A manager of `control.peers` has not answered for this long.", examples=["30s"]
    )
    store: v.Flag = Field(
        default=False,
        description="A job server can't do all of its work: its store can't be written, for instance.",
    )

    @property
    def is_any(self) -> bool:
        """Whether there is a rule."""
        return self != AlertRules()


class Smtp(Section):
    """The mail server that takes the mails."""

    server: SmtpServer | None = Field(
        default=None, description="Its address.", json_schema_extra=shown_default(f"`localhost:{SMTP_PORT}`")
    )
    sender: MailAddress | None = Field(
        default=None,
        alias="from",
        description="The sender of the mails.",
        json_schema_extra=shown_default("`gearman-manager@` and the host's name"),
    )
    tls: SmtpTls = Field(default="none", description="How the connection is encrypted.")
    user: v.Text | None = Field(default=None, description="Log in as this user; needs `password`.")
    password: v.Text | None = Field(
        default=None, repr=False, description="The user's password.", examples=["${SMTP_PASSWORD}"]
    )


class Alerts(Section):
    """Messages about troubles, without Prometheus."""

    to: Annotated[AlertTargets, v.is_mapping] = Field(default=AlertTargets(), description="Who is told.")
    rules: Annotated[AlertRules, v.is_mapping] = Field(default=AlertRules(), description="What they are told of.")
    again: v.PositiveDuration = Field(
        default=3600.0,
        description="Tell of the same trouble again after this time, if it lasts, but no sooner.",
        json_schema_extra=shown_default("`1h`"),
    )
    smtp: Annotated[Smtp, v.is_mapping] = Field(default=Smtp(), description="The mail server for `to.mail`.")

    @property
    def is_on(self) -> bool:
        """Whether there is anything to do."""
        return self.rules.is_any and self.to != AlertTargets()

    @property
    def peer_patience_s(self) -> float | None:
        """How soon somebody is to hear that another manager is down; None: nobody is."""
        return self.rules.peer_down if self.is_on else None


class OpenTelemetry(Section):
    """Metrics and traces for an OpenTelemetry collector. The variables `OTEL_…` hold too; keys win over them."""

    endpoint: WebAddress | None = Field(
        default=None,
        description="The collector's address for OTLP over HTTP, without `/v1/metrics` and `/v1/traces`.",
        examples=["http://collector:4318"],
        json_schema_extra=shown_default("`OTEL_EXPORTER_OTLP_ENDPOINT`, or `http://localhost:4318`"),
    )
    headers_file: v.FilePath | None = Field(
        default=None,
        description="A file of headers for each request, such as `Authorization: Bearer …`, one on each line.",
    )
    interval: v.PositiveDuration = Field(
        default=60.0, description="How often metrics are sent.", json_schema_extra=shown_default("`60s`")
    )
    metrics: v.Flag = Field(default=True, description="Send the metrics of the page `/metrics`.")
    traces: v.Flag = Field(
        default=True, description="Send a span for each job of a Python worker, in the trace of the job's client."
    )
