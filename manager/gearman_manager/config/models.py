"""The configuration as frozen, typed models: every key there is, what it means and what it may hold.

A pool is about processes, a function is about jobs; no key stands in both, so `defaults` can hold either. A key that is
not written is None here: `resolve.py` fills in defaults. The descriptions are the reference. Pure.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from gearman_client.address import Address

from . import values as v
from .address import parse_address, reachable
from .problem import Place, Places


class Section(BaseModel):
    """Base of all sections. A key with nothing after its colon counts as not written."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    present_when_empty: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _empty_is_not_written(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        known = cls.model_fields.keys() - cls.present_when_empty
        return {key: value for key, value in data.items() if value is not None or key not in known}


class Scale(Section):
    """How a pool's number of workers follows its queue, between `min` and `max`."""

    target_wait: v.PositiveDuration | None = Field(
        default=None,
        description="Run enough workers that a job queued now starts within this time. The default policy, 2s.",
    )
    backlog_per_worker: v.Positive | None = Field(
        default=None, description="Run one worker for each so many waiting jobs."
    )
    utilisation: v.Share | None = Field(
        default=None, description="Run so many workers that this share of them is busy."
    )
    cooldown: v.Duration | None = Field(default=None, description="Shrink only after demand was lower for this long.")
    idle: v.Duration | None = Field(
        default=None, description="Only with `min: 0`: stop the last worker after so long without a job."
    )

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        written = [key for key in POLICIES if getattr(self, key) is not None]
        if len(written) > 1:
            raise ValueError(f"only one of {', '.join(POLICIES)} is allowed, not {' and '.join(written)}")
        return self


POLICIES = ("target_wait", "backlog_per_worker", "utilisation")


class PoolKeys(Section):
    """What pools and `defaults` share: processes, how many, what they may use."""

    min: v.MinimumWorkers | None = Field(
        default=None, description="Workers that always run: 1, or 2/core for two per core."
    )
    max: v.MaximumWorkers | None = Field(
        default=None, description="Most workers that may run. Without it 4, or `min` where that is more."
    )
    scale: Annotated[Scale | None, v.is_mapping] = Field(
        default=None, description="How the number of workers follows the queue."
    )
    max_jobs: v.Natural | None = Field(default=None, description="Replace a worker after so many jobs; 0 is never.")
    max_lifetime: v.Duration | None = Field(
        default=None, description="Replace a worker after this time, spread so that no two go together; 0 is never."
    )
    max_memory: v.Size | None = Field(
        default=None, description="Replace a worker that has more private memory, after its job; 0 is no limit."
    )
    stop_timeout: v.Duration | None = Field(
        default=None, description="How long a stopping worker may finish its job before it is killed."
    )
    nice: v.Niceness | None = Field(
        default=None, description="Scheduling priority: 19 is the most modest, below 0 needs root."
    )
    preload: v.Flag | None = Field(
        default=None, description="Import the modules once, before the fork; false: in each worker, after the fork."
    )
    concurrency: v.Positive | None = Field(
        default=None, description="Jobs one worker runs at once, in greenlets; above 1 only for code that waits a lot."
    )
    watch: Annotated[tuple[v.Text, ...] | None, v.one_or_several] = Field(
        default=None, description="Further files (globs) whose change restarts the workers."
    )
    env: Annotated[Mapping[str, v.Variable], v.is_mapping] | None = Field(
        default=None, description="Only with `command`: variables added to the program's environment."
    )
    cwd: v.Text | None = Field(default=None, description="Only with `command`: the folder in which the program runs.")
    user: v.NameOrId | None = Field(default=None, description="Only with `command`: the user as whom the program runs.")
    stop_signal: v.StopSignal | None = Field(
        default=None, description="Only with `command`: the signal that asks the program to finish its job and exit."
    )


class Pool(PoolKeys):
    """One pool of worker processes."""

    functions: Annotated[tuple[v.FunctionName, ...] | None, v.at_least_one] = Field(
        default=None,
        description="Functions it serves; '*' is all that no other pool names. Without it, that of the pool's name.",
    )
    command: v.Command | None = Field(
        default=None,
        description="A program that is a Gearman worker, in any language, run instead of Python functions.",
    )


class FunctionKeys(Section):
    """What functions and `defaults` share: how one job is treated."""

    timeout: v.Duration | None = Field(default=None, description="Longest time one job may run; 0 is no limit.")
    retries: v.Natural | None = Field(default=None, description="Further attempts after a failure or a timeout.")
    crash_retries: v.Natural | None = Field(
        default=None, description="Further attempts after the worker died under the job."
    )
    backoff: v.Duration | None = Field(
        default=None, description="Wait before the first retry; doubled for each further one."
    )
    max_backoff: v.Duration | None = Field(default=None, description="Longest wait before a retry.")
    keep_result: v.Duration | None = Field(
        default=None, description="How long the result of a background job can be asked for; 0 is not at all."
    )
    max_queue: v.Natural | None = Field(
        default=None, description="Refuse further jobs when so many wait; 0 is no limit."
    )
    max_running: v.Natural | None = Field(
        default=None, description="Most jobs that run at once, everywhere; 0 is no limit."
    )
    rate: v.Text | None = Field(default=None, description="Most jobs started in a time, such as 10/s.")
    settings: v.FreeMapping | None = Field(default=None, description="Handed to the function's code as `job.settings`.")


class Function(FunctionKeys):
    """How the jobs of one function are treated."""


class Defaults(PoolKeys, FunctionKeys):
    """Values for every pool and every function that does not set its own."""


class Server(Section):
    """The bundled job server."""

    listen: v.ListenAddress = Field(
        default=parse_address("127.0.0.1:4730"),
        description="Address and port on which it listens for clients and workers.",
    )
    store: v.Store = Field(
        default="memory",
        description="Where background jobs are kept: memory, sqlite:///FILE, postgresql+psycopg://, mysql+pymysql://.",
    )


class JobServer(Section):
    """A job server the workers connect to: its address alone, or a mapping with the TLS files."""

    address: v.ServerAddress = Field(description="HOST:PORT.")
    tls: v.Flag | None = Field(default=None, description="Speak TLS; on as soon as one of the files is named.")
    ca_file: v.Text | None = Field(
        default=None, description="Certificates that may sign the server's; default: the system's."
    )
    certificate_file: v.Text | None = Field(
        default=None, description="Our own certificate, for servers that ask for one."
    )
    key_file: v.Text | None = Field(default=None, description="The key of our own certificate.")

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


class Limits(Section):
    """What all pools together may take. Growing stops there; nothing that runs is stopped."""

    max_workers: v.Positive | None = Field(default=None, description="Most workers in all pools together.")
    min_free_memory: v.Size | None = Field(
        default=None, description="Start no worker beyond `min` with less memory free."
    )
    max_load: v.PositiveNumber | None = Field(
        default=None, description="Start no worker beyond `min` above this load average."
    )


class Log(Section):
    """Where the log goes and what it looks like."""

    file: v.Text | None = Field(default=None, description="A file; default: the standard error.")
    format: v.LogFormat = Field(default="text", description="text, to be read by people, or json, one object per line.")
    level: v.LogLevel = Field(default="info", description="debug, info, warning or error.")


class Control(Section):
    """The control API, beside its socket in the run folder."""

    listen: v.ListenAddress | None = Field(default=None, description="Serve it on this TCP address too.")


class Config(Section):
    """A whole configuration: the main file with all that it includes."""

    present_when_empty: ClassVar[frozenset[str]] = frozenset({"server"})

    include: Annotated[tuple[v.Text, ...], v.one_or_several] = Field(
        default=(), description="Further files (globs), merged into this one; a key set twice is an error."
    )
    server: Annotated[Server | None, v.is_mapping] = Field(
        default=None, description="The bundled job server; leave the section out to use only external ones."
    )
    servers: Annotated[tuple[JobServer, ...], v.one_or_several] = Field(
        default=(), description="Job servers the workers connect to; default: the bundled one."
    )
    workers_dir: Annotated[tuple[v.Text, ...], v.one_or_several] = Field(
        default=("workers",), description="Folders of function modules."
    )
    include_functions: Annotated[tuple[v.Text, ...], v.at_least_one] | None = Field(
        default=None, description="Serve only functions whose names fit one of these (globs)."
    )
    exclude_functions: Annotated[tuple[v.Text, ...], v.one_or_several] = Field(
        default=(), description="Do not serve functions whose names fit one of these (globs)."
    )
    prefix: v.Prefix = Field(
        default="", description="Put before the name of every Python function when it is registered."
    )
    defaults: Annotated[Defaults, v.is_mapping] = Field(
        default=Defaults(), description="Pool and function keys for all that do not set their own."
    )
    pools: Annotated[Mapping[v.PoolName, Annotated[Pool, v.is_mapping]], v.is_mapping] = Field(
        default={}, description="Pools of worker processes, by name."
    )
    functions: Annotated[Mapping[v.FunctionName, Annotated[Function, v.is_mapping]], v.is_mapping] = Field(
        default={}, description="How the jobs of a function are treated, by the function's name."
    )
    schedules: v.FreeMapping = Field(default={}, description="Jobs submitted by the clock.")
    limits: Annotated[Limits, v.is_mapping] = Field(default=Limits(), description="What all pools together may take.")
    run_dir: v.Text | None = Field(default=None, description="Folder of the pid file and the control socket.")
    log: Annotated[Log, v.is_mapping] = Field(default=Log(), description="Where log lines go and what they look like.")
    user: v.NameOrId | None = Field(default=None, description="The user as whom to run, when started by root.")
    group: v.NameOrId | None = Field(default=None, description="The group as which to run, when started by root.")
    exit_when_failing: v.Flag = Field(
        default=False, description="End with exit code 1 when a pool can't keep a worker alive."
    )
    control: Annotated[Control, v.is_mapping] = Field(default=Control(), description="The control API.")

    _places: Places = PrivateAttr(default_factory=Places)

    @property
    def places(self) -> Places:
        """Where the keys stand. Empty for a configuration that was not read from a file."""
        return self._places

    def place(self, key: str) -> Place:
        """File and line of a key such as `pools.email.functions`, or of the nearest key around it."""
        return self._places.find(key)

    @property
    def job_servers(self) -> tuple[JobServer, ...]:
        """The job servers that the workers connect to."""
        if self.servers or self.server is None:
            return self.servers
        return (JobServer(address=reachable(self.server.listen)),)

    @property
    def listen(self) -> Address | None:
        """Where the bundled job server listens, if there is one."""
        return self.server.listen if self.server is not None else None


def placed(config: Config, places: Places) -> Config:
    """`config` with the places of its keys: set once, by whoever read the file."""
    config._places = places
    return config
