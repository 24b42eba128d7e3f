"""The configuration as frozen, typed models: every key, its meaning and its allowed values.

Keys of pools concern processes, keys of functions concern jobs; no key is both, so `defaults` can hold either. A key
that is left out is None here, and `resolve.py` fills in its default. `reference.py` makes the documentation's tables
from the descriptions. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import Field, GetJsonSchemaHandler, PrivateAttr, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from gearman_client.address import Address
from gearman_client.tls import Tls
from gearman_manager.config import values as v
from gearman_manager.config.address import reachable
from gearman_manager.config.alert_keys import Alerts, OpenTelemetry
from gearman_manager.config.control_keys import Control
from gearman_manager.config.environment import variables_in
from gearman_manager.config.function_keys import Function, FunctionKeys
from gearman_manager.config.pool_keys import Pool, PoolKeys
from gearman_manager.config.problem import Place, Places
from gearman_manager.config.schedule_keys import Schedule
from gearman_manager.config.section import Section, shown_default
from gearman_manager.config.server_keys import Server
from gearman_manager.logs.output_budget import DEFAULT_BYTES

#: The keys whose values can hold a secret that no worker needs.
SECRET_KEYS: Final = ("server.store", "control.token", "alerts.smtp.password", "alerts.to.webhook")
#: The job server reads these by itself.
STORE_VARIABLES: Final = frozenset({"GEARMAN_STORE_URL", "GEARMAN_STORE_PASSWORD", "GEARMAN_IMPORT_URL"})
#: Everybody's, even if one stands in the path of a SQLite file.
ORDINARY_VARIABLES: Final = frozenset(
    {"HOME", "USER", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "HOSTNAME", "LANG", "TZ", "VIRTUAL_ENV"}
)


class Defaults(PoolKeys, FunctionKeys):
    """Values for every pool and every function that does not set its own."""


class JobServer(Section):
    """A job server to which the workers connect: its address alone, or a mapping with the TLS files."""

    address: v.ServerAddress = Field(description="The job server's address.", examples=["jobs1.example.com:4730"])
    tls: v.Flag | None = Field(
        default=None,
        description="Speak TLS.",
        json_schema_extra=shown_default("`true` as soon as one of the files is named"),
    )
    ca_file: v.FilePath | None = Field(
        default=None,
        description="Certificates that may sign the server's certificate.",
        json_schema_extra=shown_default("the system's"),
    )
    certificate_file: v.FilePath | None = Field(
        default=None, description="Our own certificate, for servers that ask for one; needs `key_file`."
    )
    key_file: v.FilePath | None = Field(default=None, description="The key of our own certificate.")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [v.ADDRESS_SCHEMA, handler(core_schema)]}

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, data: Any) -> Any:
        if isinstance(data, (Mapping, JobServer)):
            return data
        return {"address": data}

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        files = [key for key in ("ca_file", "certificate_file", "key_file") if getattr(self, key) is not None]
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: name both or neither")
        if files and self.tls is False:
            raise ValueError(f"{files[0]} needs TLS: leave tls: false out")
        return self

    @property
    def uses_tls(self) -> bool:
        return self.tls is True or self.ca_file is not None or self.certificate_file is not None

    @property
    def reached_by(self) -> Address:
        """The address with its TLS settings."""
        tls = Tls(self.ca_file, self.certificate_file, self.key_file) if self.uses_tls else None
        return replace(self.address, tls=tls)


class Limits(Section):
    """Limits for all pools together. Beyond them pools stop growing; no running worker is stopped."""

    max_workers: v.Positive | None = Field(
        default=None, description="The largest number of workers in all pools together."
    )
    budgets: Annotated[Mapping[v.BudgetName, v.Positive], v.is_mapping] = Field(
        default={},
        description="Amounts, by name, that the workers of all pools never exceed together, such as connections to a "
        "server; a pool's `uses` says how much one worker takes.",
        examples=[{"smtp": 50, "database": 80}],
    )
    min_free_memory: v.Size | None = Field(
        default=None,
        description="Start no worker beyond `min` while less memory is free; a tighter limit of the control group "
        "counts.",
        examples=["500MB"],
    )
    max_load: v.PositiveNumber | None = Field(
        default=None, description="Start no worker beyond `min` while the load average is above this."
    )


class Log(Section):
    """The log: its destination, format and level."""

    file: v.FilePath | None = Field(
        default=None,
        description="A file, which is opened anew after it was moved away; or `syslog`, the system's log (`./syslog` "
        "is a file).",
        json_schema_extra=shown_default("standard error; standard output as process 1 of a container"),
    )
    format: v.LogFormat | None = Field(
        default=None,
        description="`text`, for people to read, or `json`, one object per line.",
        json_schema_extra=shown_default("`text`; `json` as process 1 of a container, on its standard output"),
    )
    level: v.LogLevel = Field(default="info", description="`debug`, `info`, `warning` or `error`.")
    max_output: v.Size = Field(
        default=DEFAULT_BYTES,
        description="The most that the output of one worker may add to the log in a second; the rest is dropped, and "
        "the log says how much.",
        json_schema_extra=shown_default("1MB"),
    )


class Drain(Section):
    """The end of a manager whose host goes away."""

    within: v.PositiveDuration | None = Field(
        default=None,
        description="End within this time, if `gearman-manager drain` names no other; what is unfinished then goes "
        "back into its queue.",
        examples=["100s"],
        json_schema_extra=shown_default("as long as the jobs take"),
    )
    on_sigpwr: v.Flag = Field(
        default=False, description="Drain on SIGPWR, which some hosts send before they lose their power."
    )


class FinishedJobs(Section):
    """The finished jobs that the manager keeps for pages, API and search."""

    max_count: v.Natural = Field(
        default=100_000,
        description="Keep the last so many ends, of attempts and of jobs; 0: keep none.",
        json_schema_extra=shown_default("`100000`"),
    )
    max_age: v.PositiveDuration = Field(
        default=7 * 86400.0, description="Keep them for this long.", json_schema_extra=shown_default("`7d`")
    )


class History(Section):
    """What is kept over restarts, in files of the run folder: of pools and functions for the charts (`history.db`), and
    of finished jobs (`finished.db`)."""

    minutes: v.PositiveDuration = Field(
        default=25 * 3600.0,
        description="Keep the figures of each minute for this long.",
        json_schema_extra=shown_default("`25h`"),
    )
    hours: v.PositiveDuration = Field(
        default=8 * 86400.0,
        description="Keep the figures of each hour, and marks, for this long.",
        json_schema_extra=shown_default("`8d`"),
    )
    functions: v.Flag | None = Field(
        default=None,
        description="Whether our job servers count how the jobs of functions fare; it costs them "
        "[some time for each job](job-server.md#metrics).",
        json_schema_extra=shown_default("with `control.listen`: true"),
    )
    finished_jobs: Annotated[FinishedJobs, v.is_mapping] = Field(
        default=FinishedJobs(),
        description="Limits for the [finished jobs](operations.md#finished-jobs) that are kept. They are kept if "
        "`control.listen` is set, or this.",
    )


class Config(Section):
    """A whole configuration: the main file with all that it includes."""

    present_when_empty: ClassVar[frozenset[str]] = frozenset({"server", "otel"})

    include: Annotated[tuple[v.Glob, ...], v.one_or_several] = Field(
        default=(),
        description="Further files, merged into this one; a key that is set twice is an error.",
        examples=[["conf.d/*.yaml"]],
    )
    server: Annotated[Server | None, v.is_mapping] = Field(
        default=None, description="The bundled job server; without this section none is started."
    )
    servers: Annotated[tuple[JobServer, ...], v.one_or_several] = Field(
        default=(),
        description="Job servers to which the workers connect; of a [cluster](cluster.md) one is enough. "
        "One of `server` and `servers` is needed.",
        json_schema_extra=shown_default("the bundled one"),
    )
    workers_dir: Annotated[tuple[v.FilePath, ...], v.one_or_several] = Field(
        default=("workers",), description="Folders of modules."
    )
    include_functions: Annotated[tuple[v.Glob, ...], v.at_least_one] | None = Field(
        default=None,
        description="Serve only functions whose names match one of these.",
        examples=[["mail_*"]],
        json_schema_extra=shown_default("all"),
    )
    exclude_functions: Annotated[tuple[v.Glob, ...], v.one_or_several] = Field(
        default=(), description="Do not serve functions whose names match one of these.", examples=[["*_test"]]
    )
    prefix: v.Prefix = Field(
        default="", description="Text that is put before the name of every Python function when it is registered."
    )
    defaults: Annotated[Defaults, v.is_mapping] = Field(
        default=Defaults(), description="Keys of pools and of functions, for all pools and functions without their own."
    )
    pools: Annotated[Mapping[v.PoolName, Annotated[Pool, v.is_mapping]], v.is_mapping] = Field(
        default={}, description="Pools of worker processes, by name."
    )
    functions: Annotated[Mapping[v.FunctionName, Annotated[Function, v.is_mapping]], v.is_mapping] = Field(
        default={}, description="Rules for the jobs of a function, by the function's name."
    )
    schedules: Annotated[Mapping[v.ScheduleName, Annotated[Schedule, v.is_mapping]], v.is_mapping] = Field(
        default={}, description="Jobs that the bundled job server submits by the clock, by the schedule's name."
    )
    limits: Annotated[Limits, v.is_mapping] = Field(default=Limits(), description="Limits for all pools together.")
    run_dir: v.FilePath | None = Field(
        default=None,
        description="The folder of the pid file and the control socket.",
        json_schema_extra=shown_default("below `$XDG_RUNTIME_DIR` or the temporary folder"),
    )
    log: Annotated[Log, v.is_mapping] = Field(default=Log(), description="The log's destination, format and level.")
    user: v.NameOrId | None = Field(default=None, description="The user to become, if root starts the manager.")
    group: v.NameOrId | None = Field(default=None, description="The group to take on, if root starts the manager.")
    exit_when_failing: v.Flag = Field(
        default=False, description="End with exit code 1 when a pool can't keep a worker alive."
    )
    drain: Annotated[Drain, v.is_mapping] = Field(
        default=Drain(), description="The time for a drain, and whether SIGPWR begins one."
    )
    control: Annotated[Control, v.is_mapping] = Field(
        default=Control(), description="The control API on a TCP address, beside its socket."
    )
    history: Annotated[History, v.is_mapping] = Field(
        default=History(), description="The figures of pools and functions that charts are made of, and finished jobs."
    )
    alerts: Annotated[Alerts, v.is_mapping] = Field(
        default=Alerts(), description="Messages about troubles, by mail, to a web address, or by a program."
    )
    otel: Annotated[OpenTelemetry | None, v.is_mapping] = Field(
        default=None,
        description="Metrics and traces for an OpenTelemetry collector; without it none are sent.",
    )

    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def places(self) -> Places:
        """The places of the keys; empty for a configuration that was not read from a file."""
        return self._places

    def place(self, key: str) -> Place:
        """File and line of a key such as `pools.email.functions`, or of the nearest key around it."""
        return self._places.find(key)

    @property
    def private_variables(self) -> frozenset[str]:
        """The environment variables for the manager and its job server alone: nothing that they start needs them."""
        written = self._places.written.items()
        named = (variables_in(text) for key, text in written if key.partition("[")[0] in SECRET_KEYS)
        return STORE_VARIABLES.union(*named) - ORDINARY_VARIABLES

    @property
    def records_functions(self) -> bool:
        """Whether job servers are asked what they have counted of functions."""
        return self.control.listen is not None if self.history.functions is None else self.history.functions

    @property
    def kept_finished(self) -> FinishedJobs | None:
        """The limits for finished jobs; None: none are kept."""
        bounds, is_asked_for = self.history.finished_jobs, "finished_jobs" in self.history.model_fields_set
        return bounds if bounds.max_count and (is_asked_for or self.control.listen is not None) else None

    @property
    def job_servers(self) -> tuple[JobServer, ...]:
        """The job servers to which the workers connect."""
        if self.servers or self.server is None:
            return self.servers
        return tuple(JobServer(address=reachable(instance.jobs[0])) for instance in self.server.listening)

    @property
    def own_addresses(self) -> tuple[Address, ...]:
        """The addresses at which this machine reaches the bundled job servers, one after the other, each in the order
        of `listen`."""
        instances = self.server.listening if self.server is not None else ()
        return tuple(reachable(address) for instance in instances for address in instance.jobs)


def placed(config: Config, places: Places) -> Config:
    """`config` with the places of its keys, which the reader of the files sets once."""
    config._places = places
    return config
