"""The models: every key and its value, and the promises about the keys as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from gearman_client import Address
from gearman_manager.config import Config, Control, Defaults, Function, Pool, WorkerCount
from gearman_manager.config.reference import json_schema, tables
from gearman_manager.config.section import Section

EVERY_KEY = """
include: [conf.d/*.yaml]
server:
  listen: [0.0.0.0:4731, "[::]:4731"]
  metrics_listen: 0.0.0.0:4750
  store: postgresql+psycopg://localhost/jobs
  instances: 2
  cluster: {name: shop, lease: 4s, announce: jobs1.example.com}
  dead_letters: {max_count: 100, max_size: 5MB, max_age: 1d}
  results: {max_count: 100, max_size: 5MB, max_data: 1kB}
servers:
  - 10.0.0.1
  - address: jobs.example.com:4732
    tls: true
    ca_file: tls/ca.pem
    certificate_file: tls/own.pem
    key_file: tls/own.key
workers_dir: [workers]
include_functions: ["send_*", "legacy_*"]
exclude_functions: ["*_test"]
prefix: acme.
defaults: {min: 1, max: 4, timeout: 5m, max_lifetime: 1h, scale: {cooldown: 20s}}
pools:
  email:
    functions: [send_email]
    min: 0
    max: 2/core
    max_everywhere: 40
    weight: 3
    uses: {smtp: 1}
    scale: {backlog_per_worker: 10, cooldown: 10s, idle: 5m}
    windows:
      - {cron: 0 8 * * mon-fri, for: 90m, min: 1/core, max: 20, time_zone: Europe/Berlin}
    max_jobs: 1000
    max_lifetime: 1h
    max_memory: 300MB
    stop_timeout: 1m
    nice: 5
    preload: false
    concurrency: 4
    prefetch: 1
    watch: [templates/*.html]
  legacy:
    functions: [legacy_report]
    command: php 'my worker.php'
    env: {MODE: production, PORT: 80}
    cwd: workers
    user: www-data
    stop_signal: INT
functions:
  send_email:
    timeout: 30s
    retries: 5
    crash_retries: 2
    backoff: 10s
    max_backoff: 1h
    keep_result: 1d
    max_queue: 1000
    max_running: 10
    rate: 10/s
    allow_options: [retries, timeout]
    unique_scope: cluster
    per_key: {max_running: 5, rate: 100/m}
    fair: true
    weights: {bulk: 1, transactional: 10}
    brake: {failures: 20/1m, hold: 1m, probe: 2}
    batch: 100
    linger: 50ms
    redact: [password, /^auth/]
    show_workloads: false
    retention: 7d
    settings: {smtp_host: 127.0.0.1, smtp_port: 25}
schedules:
  nightly:
    cron: 30 3 * * *
    time_zone: Europe/Berlin
    function: send_email
    workload: {to: all}
    unique: nightly
    priority: low
    missed: skip
  often: {every: 10m, function: send_email}
limits: {max_workers: 100, budgets: {smtp: 50}, min_free_memory: 1GiB, max_load: 8}
run_dir: run
log: {file: manager.log, format: json, level: debug, max_output: 200KB}
user: gearman
group: 1000
exit_when_failing: yes
drain: {within: 100s, on_sigpwr: yes}
history: {minutes: 2d, hours: 30d, functions: false}
control:
  listen: 127.0.0.1:4800
  token: 0123456789abcdef
  read_token_file: read.token
  users_file: users
  trusted_proxy: {token_file: proxy.token, user_header: X-Forwarded-User, role: operator}
  prefix: /gearman
  hosts: [gearman.example.com]
  session: 1h
  peer_token_file: peer.token
  peers: [{url: "https://b:4780/gearman/", name: B, token_file: b.token, ca_file: ca.pem}, "http://c:4780"]
otel: {endpoint: "http://127.0.0.1:4318", headers_file: otel-headers, interval: 10s, metrics: false, traces: false}
alerts:
  to: {mail: ops@example.com, webhook: "https://chat.example.com/hooks/1?a=b", command: notify.sh --now}
  rules:
    waiting: 5m
    failures: 20/5m
    dead: 1
    crash_loop: true
    no_jobs: {send_email: 1h}
    server_down: 30s
    peer_down: 30s
    store: true
  again: 2h
  smtp: {server: "mail.example.com:587", from: gearman@example.com, tls: starttls, user: gearman, password: secret}
"""


@pytest.fixture
def full(read: Callable[..., Config], folder: Path) -> Config:
    """A configuration with every key."""
    for name in ("ca.pem", "own.pem", "own.key"):
        (folder / "tls").mkdir(exist_ok=True)
        (folder / "tls" / name).touch()
    for name in ("read.token", "users", "proxy.token", "peer.token", "b.token", "ca.pem", "otel-headers"):
        (folder / name).touch()
    return read(EVERY_KEY, {}, {"conf.d/README": "no YAML file"})


def unwritten(section: Section) -> Iterator[str]:
    return (key for key in type(section).model_fields if key not in section.model_fields_set)


def test_every_key_is_accepted(full: Config) -> None:
    assert full.server is not None
    assert full.server.cluster is not None
    sections: list[Section] = [
        full,
        full.server,
        full.server.cluster,
        full.server.dead_letters,
        full.server.results,
        full.servers[1],
        full.limits,
        full.log,
        full.drain,
        full.alerts,
        full.alerts.to,
        full.alerts.rules,
        full.alerts.smtp,
        full.otel or Section(),
    ]
    assert full.control.trusted_proxy is not None
    sections.append(full.control.trusted_proxy)
    sections.append(full.control.peers[0])
    assert [peer.url for peer in full.control.peers] == ["https://b:4780/gearman", "http://c:4780"]
    sections.append(full.functions["send_email"])
    sections += full.pools["email"].windows or ()
    assert [list(unwritten(section)) for section in sections] == [[]] * len(sections)
    pools = full.pools["email"].model_fields_set | full.pools["legacy"].model_fields_set
    assert pools == set(Pool.model_fields)
    assert full.control.model_fields_set | {"token_file"} == set(Control.model_fields)


def test_values_have_the_types_that_the_program_uses(full: Config) -> None:
    email, legacy = full.pools["email"], full.pools["legacy"]
    assert email.scale is not None
    [window] = email.windows or ()
    assert (window.length, window.min, window.max) == (5400.0, WorkerCount(1, is_per_core=True), WorkerCount(20))
    assert (email.min, email.max) == (WorkerCount(0), WorkerCount(2, is_per_core=True))
    assert (email.scale.idle, email.max_memory, email.preload) == (300.0, 300_000_000, False)
    assert legacy.command == ("php", "my worker.php")
    assert (legacy.env, legacy.stop_signal) == ({"MODE": "production", "PORT": "80"}, "SIGINT")
    assert full.functions["send_email"].settings == {"smtp_host": "127.0.0.1", "smtp_port": 25}
    assert (full.user, full.group, full.exit_when_failing) == ("gearman", "1000", True)


def test_relative_paths_start_at_the_folder_of_the_file(
    full: Config, read: Callable[..., Config], folder: Path
) -> None:
    assert full.workers_dir == (f"{folder}/workers",)
    assert full.servers[1].ca_file == f"{folder}/tls/ca.pem"
    assert full.pools["email"].watch == (f"{folder}/templates/*.html",)
    assert full.pools["legacy"].cwd == f"{folder}/workers"
    assert (full.run_dir, full.log.file) == (f"{folder}/run", f"{folder}/manager.log")
    server = read("server: {store: sqlite:///jobs.db}\n").server
    assert server is not None
    assert server.store == f"sqlite:///{folder}/jobs.db"


def test_no_key_is_both_a_pools_and_a_functions() -> None:
    assert not set(Pool.model_fields) & set(Function.model_fields)


def test_defaults_have_every_pool_and_function_key_except_those_of_one_kind_of_work() -> None:
    keys = set(Pool.model_fields) | set(Function.model_fields)
    assert set(Defaults.model_fields) == keys - {"functions", "command", "batch", "linger"}


def test_every_key_is_described_in_the_schema() -> None:
    schema = json_schema()
    sections = [form for section in (schema, *schema["$defs"].values()) for form in section.get("anyOf", [section])]
    assert [
        (section["title"], key)
        for section in sections
        for key, value in section.get("properties", {}).items()
        if not value.get("description")
    ] == []


def test_the_schema_allows_single_entries_for_lists_servers_as_text_and_variables() -> None:
    schema = json_schema()
    workers_dir = schema["properties"]["workers_dir"]["anyOf"]
    assert [form["type"] for form in workers_dir] == ["string", "array", "string"]
    assert {"pattern": r"\$\{", "type": "string"} in schema["$defs"]["Log"]["properties"]["level"]["anyOf"]
    assert schema["$defs"]["JobServer"]["anyOf"][0]["type"] == ["string", "integer"]


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("Config", "| `workers_dir` | list: path | `[workers]` |"),
        ("Server", "| `listen` | list: address | `127.0.0.1:4730` |"),
        ("Pool", "| `min` | workers | `1` | The number of workers that always run. For example `2/core`. |"),
        ("Pool", "| `scale` | [keys](#scale) | `target_wait: 2s` |"),
        ("Scale", "| `cooldown` | duration | `30s` |"),
        ("Function", "| `crash_retries` | number | `3` |"),
    ],
)
def test_the_documentations_tables_have_type_default_meaning_and_example(section: str, row: str) -> None:
    assert row in tables()[section]


def test_a_configuration_is_immutable(full: Config) -> None:
    with pytest.raises(ValidationError):
        full.prefix = "other"


def test_an_empty_section_equals_a_missing_one_except_server_which_asks_for_the_bundled_one(
    read: Callable[..., Config],
) -> None:
    config = read("server:\nlog:\npools:\n  email:\n    min:\ndefaults:\n")
    assert config.own_addresses == (Address("127.0.0.1", 4730),)
    assert config.log.level == "info"
    assert config.pools["email"].min is None


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("server:", ["127.0.0.1:4730"]),
        ("server: {listen: 0.0.0.0:4731}", ["127.0.0.1:4731"]),
        ('server: {listen: "[::]:4731"}', ["[::1]:4731"]),
        ("server: {listen: 4731}", ["127.0.0.1:4731"]),
        ('server: {listen: [0.0.0.0:4731, "[::]:4731"]}', ["127.0.0.1:4731"]),
        ("server: {instances: 3}", ["127.0.0.1:4730", "127.0.0.1:4731", "127.0.0.1:4732"]),
        ("server: {listen: [0, 80], instances: 2}", ["127.0.0.1:0", "127.0.0.1:0"]),
        ("servers: jobs.example.com", ["jobs.example.com:4730"]),
        ('servers: ["[2001:db8::1]:4731", 10.0.0.1:4732]', ["[2001:db8::1]:4731", "10.0.0.1:4732"]),
        ("server:\nservers: [10.0.0.1]", ["10.0.0.1:4730"]),
    ],
)
def test_workers_connect_to_the_named_servers_or_else_to_the_bundled_one(
    read: Callable[..., Config], text: str, servers: list[str]
) -> None:
    assert [str(server.address) for server in read(text).job_servers] == servers


def test_each_instance_has_the_next_port_of_every_address(read: Callable[..., Config]) -> None:
    config = read('server: {listen: [0.0.0.0:4730, "[::1]:80"], metrics_listen: 4740, instances: 2}')
    assert config.server is not None
    told = [([str(address) for address in each.jobs], str(each.metrics)) for each in config.server.listening]
    assert told == [
        (["0.0.0.0:4730", "[::1]:80"], "127.0.0.1:4740"),
        (["0.0.0.0:4731", "[::1]:81"], "127.0.0.1:4741"),
    ]
    assert [str(address) for address in config.own_addresses] == [
        "127.0.0.1:4730",
        "[::1]:80",
        "127.0.0.1:4731",
        "[::1]:81",
    ]


@pytest.mark.parametrize(
    ("server", "uses_tls"),
    [("{address: a}", False), ("{address: a, tls: yes}", True), ("{address: a, ca_file: config.yaml}", True)],
)
def test_tls_is_used_when_it_is_switched_on_or_a_file_is_named(
    read: Callable[..., Config], server: str, uses_tls: bool
) -> None:
    assert read(f"servers: [{server}]").servers[0].uses_tls is uses_tls


def test_the_place_of_a_key_is_its_own_line_or_that_of_the_key_around_it(full: Config) -> None:
    lines = EVERY_KEY.splitlines()
    assert full.place("pools.email.functions") == ("config.yaml", lines.index("    functions: [send_email]") + 1)
    assert full.place("pools.email.user") == ("config.yaml", lines.index("  email:") + 1)
    assert full.place("pools.email.functions[0]").line == full.place("pools.email.functions").line
    assert full.place("nothing.of.this") == ("config.yaml", 1)
