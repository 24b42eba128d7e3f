"""The table of mistakes: the exact message for each, with its line and key. A user reads these and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gearman_client.job_pairs import OPTION_NAMES
from gearman_manager.config import Config, Function, Pool

Messages = Callable[..., list[str]]

POOL_KEYS = ", ".join(Pool.model_fields)
WINDOW_KEYS = "cron, for, min, max, time_zone"
FUNCTION_KEYS = ", ".join(Function.model_fields)
TOP_KEYS = ", ".join(Config.model_fields)
DURATIONS = "500ms, 30s, 5m, 1h or 7d"

POOL = [
    ("min: many", "min: a whole number from 0 up, or a number per core such as 2/core, is expected, not 'many'"),
    ("min: -1", "min: a whole number from 0 up, or a number per core such as 2/core, is expected, not -1"),
    ("max: 0", "max: a whole number from 1 up, or a number per core such as 2/core, is expected, not 0"),
    ("max: 2/cores", "max: a whole number from 1 up, or a number per core such as 2/core, is expected, not '2/cores'"),
    ("max: 1.5", "max: a whole number from 1 up, or a number per core such as 2/core, is expected, not 1.5"),
    ("max: 1000000", "max: 1000000 is too many, at most 100000 is allowed"),
    ("max_jobs: many", "max_jobs: a whole number from 0 up is expected, not 'many'"),
    ("max_jobs: true", "max_jobs: a whole number from 0 up is expected, not true"),
    ("nice: 20", "nice: a whole number from -20 to 19 is expected, not 20"),
    ("concurrency: 0", "concurrency: a whole number from 1 to 1000 is expected, not 0"),
    ("concurrency: 1001", "concurrency: a whole number from 1 to 1000 is expected, not 1001"),
    ("max_everywhere: 0", "max_everywhere: a whole number from 1 up is expected, not 0"),
    ("weight: 0", "weight: a whole number from 1 to 1000 is expected, not 0"),
    ("uses: smtp", "uses: a mapping (lines of 'key: value') is expected, not 'smtp'"),
    ("uses: {smtp: some}", "uses.smtp: a whole number from 0 up is expected, not 'some'"),
    (
        "uses: {smtp: 1}",
        "uses.smtp: no budget has this name; there is none yet: add it to limits.budgets, as in smtp: 50",
    ),
    ("prefetch: 0", "prefetch: a whole number from 1 to 1000 is expected, not 0"),
    ("prefetch: 1001", "prefetch: a whole number from 1 to 1000 is expected, not 1001"),
    (
        "{concurrency: 2, prefetch: 50}",
        "prefetch: a worker runs several jobs at once or fetches them ahead, not both (concurrency is set at "
        "config.yaml:4): set one of them to 1",
    ),
    ("max_lifetime: 30", f"max_lifetime: a duration needs a unit: write 30s (allowed: {DURATIONS}), not 30"),
    ("stop_timeout: soon", f"stop_timeout: a duration such as {DURATIONS} is expected, not 'soon'"),
    ("max_memory: 300", "max_memory: a size needs a unit: write 300MB (allowed: 300MB or 1GiB), not 300"),
    ("max_memory: [1GB]", "max_memory: a size such as 300MB or 1GiB is expected, not a list"),
    ("preload: maybe", "preload: true or false is expected, not 'maybe'"),
    ("functions: []", "functions: at least one entry is expected, not an empty list"),
    ("functions: true", "functions: one entry or a list of them is expected, not true"),
    ("functions: [a b]", "functions: a function's name holds no blank, and no control character but TAB: 'a b'"),
    ("functions: [[a]]", "functions: text is expected, not a list"),
    (f"functions: {'x' * 256}", "functions: a function's name has at most 255 bytes"),
    ("watch: {a: b}", "watch: text is expected, not a mapping"),
    ("command: ''", "command: text is expected, not an empty one"),
    ('command: "php \'x"', "command: a command line can't be read: no closing quotation"),
    ("command: []", "command: a program and its arguments are expected, such as php worker.php"),
    ("scale: fast", "scale: a mapping (lines of 'key: value') is expected, not 'fast'"),
    ("scale: {target_wait: 0}", "scale.target_wait: a duration above 0 is expected, such as 500ms or 30s"),
    ("scale: {utilisation: 70}", "scale.utilisation: a share above 0 and up to 1 is expected, such as 0.7, not 70"),
    ("scale: {utilisation: high}", "scale.utilisation: a number is expected, not 'high'"),
    ("scale: {backlog_per_worker: 0}", "scale.backlog_per_worker: a whole number from 1 up is expected, not 0"),
    (
        "scale: {target_wait: 1s, utilisation: 0.7}",
        "scale: only one of target_wait, backlog_per_worker, utilisation is allowed, not target_wait and utilisation",
    ),
    (
        "scale: {target: 1s}",
        "scale.target: unknown key, did you mean target_wait? "
        "Allowed here: target_wait, backlog_per_worker, utilisation, cooldown, idle",
    ),
    ("windows: {cron: 61 * * * *, for: 1h, min: 2}", "windows.cron: '61 * * * *' is no cron expression: bad minute"),
    ("windows: {for: 1h, min: 2}", "windows.cron: cron is missing"),
    ("windows: [{cron: 0 8 * * *, min: 2}]", "windows.for: for is missing"),
    ("windows: [{cron: 0 8 * * *, for: 1h}]", "windows: min, max or both are expected: what the window changes"),
    (
        "windows: [{cron: 0 8 * * *, for: 10ms, min: 2}]",
        "windows.for: a duration from 1s to 366d is expected, not '10ms'",
    ),
    (
        "windows: [{cron: 0 8 * * *, for: 2, min: 2}]",
        f"windows.for: a duration needs a unit: write 2s (allowed: {DURATIONS}), not 2",
    ),
    (
        "windows: [{cron: 0 8 * * *, for: 1h, min: 2, time_zone: Moon}]",
        "windows.time_zone: there is no time zone 'Moon': a name such as Europe/Berlin or UTC is expected",
    ),
    (
        "windows: [{cron: 0 8 * * *, for: 1h, min: 2, timezone: UTC}]",
        f"windows.timezone: unknown key, did you mean time_zone? Allowed here: {WINDOW_KEYS}",
    ),
    (
        "windows: [{cron: 0 8 * * *, length: 1h, for: 1h, min: 2}]",
        f"windows.length: unknown key. Allowed here: {WINDOW_KEYS}",
    ),
    ("windows: 8 to 10", "windows: a mapping (lines of 'key: value') is expected, not '8 to 10'"),
    (
        f"windows: [{', '.join(['{cron: 0 8 * * *, for: 1h, min: 2}'] * 101)}]",
        "windows: at most 100 windows are allowed, not 101",
    ),
    ("cron: 0 8 * * *", "cron: the key belongs in windows, as in windows: [{cron: …}]"),
    ("scale: {idle: 5m}", "scale.idle: idle needs min: 0; here min is 1, so the last worker stays"),
    ("max_memry: 1GB", f"max_memry: unknown key, did you mean max_memory? Allowed here: {POOL_KEYS}"),
    ("xyz: 1", f"xyz: unknown key. Allowed here: {POOL_KEYS}"),
    ("xyz:", f"xyz: unknown key. Allowed here: {POOL_KEYS}"),
    ("timeout: 5s", "timeout: the key belongs to jobs, not to processes: write it under functions, or in defaults"),
    ("cooldown: 5s", "cooldown: the key belongs in scale, as in scale: {cooldown: …}"),
    ("env: {A: b}", "env: the key is for programs only: it needs a command in the same pool"),
    ("cwd: /", "cwd: the key is for programs only: it needs a command in the same pool"),
    ("user: www", "user: the key is for programs only: it needs a command in the same pool"),
    ("stop_signal: INT", "stop_signal: the key is for programs only: it needs a command in the same pool"),
    (
        "stop_signal: STOP",
        "stop_signal: one of TERM, INT, QUIT, HUP, USR1, USR2, WINCH, KILL is expected, not 'STOP'",
    ),
]

PROGRAM = [
    ("preload: true", "preload: the key is for Python functions: it can't stand beside a command"),
    ("concurrency: 2", "concurrency: the key is for Python functions: it can't stand beside a command"),
    ("prefetch: 50", "prefetch: the key is for Python functions: it can't stand beside a command"),
    ("max_jobs: 5", "max_jobs: the key is for Python functions: it can't stand beside a command"),
    ("env: {A: 1.10}", "env.A: text is expected, not 1.1 (put it in quotes)"),
    ("env: {A: yes}", "env.A: text is expected, not true (put it in quotes)"),
    ("functions: '*'", "functions: '*' is for Python functions: name the functions that the program serves"),
    (
        "max: 4",
        "max: a program scales only with functions: name the functions whose queue it follows, "
        "as in functions: [legacy_report], or leave max out",
    ),
    (
        "scale: {cooldown: 5s}",
        "scale: a program scales only with functions: name the functions whose queue it follows, "
        "as in functions: [legacy_report]",
    ),
    (
        "min: 0",
        "min: 0 workers would never become more: name the functions whose queue it follows, "
        "as in functions: [legacy_report], or write min: 1",
    ),
]

FUNCTION = [
    ("timeout: 30", f"timeout: a duration needs a unit: write 30s (allowed: {DURATIONS}), not 30"),
    ("retries: -1", "retries: a whole number from 0 up is expected, not -1"),
    (
        "allow_options: [timeot]",
        f"allow_options: 'timeot' is no option of a job, did you mean timeout? Known are {', '.join(OPTION_NAMES)}",
    ),
    (
        "redact: [/(a+)+/]",
        "redact: /(a+)+/: + is not possible here: a search in others' keys must not take long, so groups are neither "
        "repeated nor named nor referred to",
    ),
    ("show_workloads: never", "show_workloads: true or false is expected, not 'never'"),
    ("retention: 7", f"retention: a duration needs a unit: write 7s (allowed: {DURATIONS}), not 7"),
    ("unique_scope: all", "unique_scope: server or cluster is expected, not 'all'"),
    (
        "rate: 5",
        "rate: a rate from 1 to 100000 in a second, minute, hour or day, such as 5/s or 100/m, is expected, not 5",
    ),
    ("brake: 20/1m", "brake: a mapping (lines of 'key: value') is expected, not '20/1m'"),
    (
        "brake: {failures: 20}",
        "brake.failures: a rate from 1 to 100000 in a second, minute, hour or day, such as 5/s or 100/m, is expected, "
        "not 20",
    ),
    ("batch: 0", "batch: a whole number from 1 to 1000 is expected, not 0"),
    ("linger: 5", f"linger: a duration needs a unit: write 5s (allowed: {DURATIONS}), not 5"),
    ("linger: 2m", "linger: at most 60s are expected, not '2m'"),
    ("settings: [a]", "settings: a mapping (lines of 'key: value') is expected, not a list"),
    ("max: 5", "max: the key belongs to processes, not to jobs: write it under pools, or in defaults"),
    ("timout: 5s", f"timout: unknown key, did you mean timeout? Allowed here: {FUNCTION_KEYS}"),
]

TOP = [
    ("servrs: [a]", f"servrs: unknown key, did you mean servers? Allowed here: {TOP_KEYS}"),
    ("timeout: 5s", "timeout: the key belongs in a pool or a function, or in defaults for all of them"),
    ("pools: [a]", "pools: a mapping (lines of 'key: value') is expected, not a list"),
    ("pools: {a: 5}", "pools.a: a mapping (lines of 'key: value') is expected, not 5"),
    ("pools: {a/b: {}}", "pools.a/b: a pool's name consists of up to 64 letters, digits, '_', '-' and '.'"),
    (
        "functions: {a b: {}}",
        "functions.a b: a function's name holds no blank, and no control character but TAB: 'a b'",
    ),
    (
        "defaults: {batch: 100}",
        "defaults.batch: the key belongs to one function: write it under functions, or into the decorator @function",
    ),
    ("defaults: {functions: [a]}", "defaults.functions: the key belongs in a pool, not in defaults"),
    (
        "defaults: {min: 5, max: 2}",
        "defaults.min: 5 is more than max, which is 2 at config.yaml:2: lower min or raise max",
    ),
    ("prefix: a b", "prefix: a function's name holds no blank, and no control character but TAB: 'a b'"),
    ("include_functions: []", "include_functions: at least one entry is expected, not an empty list"),
    ("limits: {max_workers: 0}", "limits.max_workers: a whole number from 1 up is expected, not 0"),
    ("limits: {budgets: {smtp: 0}}", "limits.budgets.smtp: a whole number from 1 up is expected, not 0"),
    (
        "limits: {budgets: {a b: 1}}",
        "limits.budgets.a b: a budget's name consists of up to 64 letters, digits, '_', '-' and '.'",
    ),
    (
        "defaults: {uses: {smpt: 1}}\nlimits: {budgets: {smtp: 5}}",
        "defaults.uses.smpt: no budget has this name; did you mean smtp? known are smtp: "
        "add it to limits.budgets, as in smpt: 50",
    ),
    (
        "pools: {a: {uses: {smtp: 6}}}\nlimits: {budgets: {smtp: 5}}",
        "pools.a.uses.smtp: one worker would use 6, and limits.budgets has only 5: raise that one",
    ),
    ("limits: {max_load: 0}", "limits.max_load: a number above 0 is expected, not 0"),
    ("limits: {max_load: .inf}", "limits.max_load: a number is expected, not '.inf'"),
    ("log: {level: loud}", "log.level: one of debug, info, warning, error is expected, not 'loud'"),
    ("log: {format: xml}", "log.format: one of text, json is expected, not 'xml'"),
    ("log: text", "log: a mapping (lines of 'key: value') is expected, not 'text'"),
    ("user: true", "user: text is expected, not true (put it in quotes)"),
    ("exit_when_failing: 1", "exit_when_failing: true or false is expected, not 1"),
    ("control: {listen: 70000}", "control.listen: a port is a number from 0 to 65535, not 70000"),
    ("control: {listen: 10.0.0.1}", "control.listen: a port is missing: 10.0.0.1:4731, or another that is free"),
    (
        "control: {listen: 127.0.0.1:4731}",
        "control.listen: a TCP address needs a token or users, on this machine too: every user can reach it. "
        "Set control.token_file or control.users_file",
    ),
    (
        "control: {token: abc}",
        "control.token: 16 to 512 characters are expected, without blanks, as `openssl rand -hex 16` prints them",
    ),
    (
        "control: {token: 0123456789abcdef}",
        "control.token: only control.listen needs this: add an address, such as 127.0.0.1:4731, or leave it out",
    ),
    (
        "control: {listen: 4731, token: 0123456789abcdef, token_file: config.yaml}",
        "control.token_file: only one of token and token_file is allowed",
    ),
    (
        "control: {listen: 1, users_file: config.yaml, prefix: a/}",
        "control.prefix: a path such as /gearman is expected, not 'a/'",
    ),
    (
        "control: {listen: 1, users_file: config.yaml, hosts: ['a:1']}",
        "control.hosts: a host alone is expected, such as jobs1.example.com or 10.0.0.5, not 'a:1'",
    ),
    (
        "control: {peers: 'b:4780', peer_token_file: config.yaml}",
        "control.peers.url: an address such as https://b.example.com:4780 is expected, not 'b:4780'",
    ),
    (
        "control: {peers: ['https://u:p@b'], peer_token_file: config.yaml}",
        "control.peers.url: an address such as https://b.example.com:4780 is expected, not 'https://u:p@b'",
    ),
    (
        "control: {peers: ['https://b', {url: https://b/}], peer_token_file: config.yaml}",
        "control.peers: https://b stands there twice",
    ),
    (
        "control: {peers: ['https://b']}",
        "control: there is no token for https://b: give it a token_file, or write peer_token_file for all",
    ),
    (
        "control: {listen: 1, trusted_proxy: {token_file: config.yaml, role: root}}",
        "control.trusted_proxy.role: one of viewer, operator, admin is expected, not 'root'",
    ),
    (
        "control: {listen: 1, trusted_proxy: {token_file: config.yaml, user_hedder: A}}",
        "control.trusted_proxy.user_hedder: unknown key, did you mean user_header? "
        "Allowed here: token_file, user_header, role",
    ),
    ("control: {listen: 1, trusted_proxy: {}}", "control.trusted_proxy.token_file: token_file is missing"),
    ("servers: [a, 'a:4730']", "servers: a:4730 is named twice: every job server once is enough"),
    ("servers: [{tls: yes}]", "servers.address: address is missing"),
    *(
        (
            f"servers: ['{address}']",
            "servers.address: an address such as 127.0.0.1:4730, jobs.example.com:4730 or [::1]:4730 is expected, "
            f"not '{address}'",
        )
        for address in ("300.1.1.1:4730", "1.2.3:4730", "jobs..example.com", "-jobs:4730", "[::zz]:1", "[1.2.3.4]:1")
    ),
    (
        "servers: [{address: a, key_file: config.yaml}]",
        "servers: certificate_file and key_file belong together: name both or neither",
    ),
    ("servers: [{address: a, tls: no, ca_file: config.yaml}]", "servers: ca_file needs TLS: leave tls: false out"),
    (
        "servers: ['a b']",
        "servers.address: an address such as 127.0.0.1:4730, jobs.example.com:4730 or [::1]:4730 is expected, "
        "not 'a b'",
    ),
]

STORES = "memory, sqlite:///FILE, postgresql+psycopg://HOST/NAME, mysql+pymysql://HOST/NAME"
SERVER = [
    ("listen: []", "listen: at least one entry is expected, not an empty list"),
    ("listen: 127.0.0.1:99999", "listen: a port is a number from 0 to 65535, not 99999"),
    ("store: redis://u:secret@h", f"store: one of {STORES} is expected, redis:// is not one of them"),
    ("store: u:secret@h", f"store: one of {STORES} is expected, this is not one of them"),
    (
        "store: sqlite://jobs.db",
        "store: sqlite: has three slashes before the file, as in sqlite:///jobs.db, and four before /var",
    ),
    (
        "store: 'sqlite:///:memory:'",
        "store: sqlite:/// needs a file, as in sqlite:///jobs.db; to keep jobs in memory only write memory",
    ),
    (
        "store: 'sqlite:///'",
        "store: sqlite:/// needs a file, as in sqlite:///jobs.db; to keep jobs in memory only write memory",
    ),
    (
        "store: mysql+pymysql://u:secret@h?charset=utf8",
        "store: mysql+pymysql:// needs a database, as in mysql+pymysql://USER@HOST/DATABASE",
    ),
    ("metrics_listen: 127.0.0.1", "metrics_listen: a port is missing: 127.0.0.1:4732, or another that is free"),
    ('metrics_listen: "[::1]"', "metrics_listen: a port is missing: [::1]:4732, or another that is free"),
    ("metrics_listen: 70000", "metrics_listen: a port is a number from 0 to 65535, not 70000"),
    (
        "metrics_listen: a b:1",
        "metrics_listen: an address such as 127.0.0.1:4730, jobs.example.com:4730 or [::1]:4730 is expected, "
        "not 'a b:1'",
    ),
    (
        "port: 4730",
        "port: unknown key. Allowed here: listen, metrics_listen, store, instances, cluster, dead_letters, results",
    ),
    ("instances: 0", "instances: a whole number from 1 to 64 is expected, not 0"),
    (
        "cluster: {name: a, leas: 3s}",
        "cluster.leas: unknown key, did you mean lease? Allowed here: name, lease, announce",
    ),
    (
        "cluster: {name: my shop}",
        "cluster.name: at most 63 letters, digits, dots, dashes and underscores are expected, not 'my shop'",
    ),
    *(
        (
            f"cluster: {{name: a, announce: '{host}'}}",
            f"cluster.announce: a host alone is expected, such as jobs1.example.com or 10.0.0.5, not '{host}'",
        )
        for host in ("jobs1:4730", "4730", "[::1]:4730", "a b")
    ),
    ("cluster: {name: a, lease: 1s}", "cluster.lease: a duration from 1.5s to 60s is expected, not '1s'"),
]


@pytest.mark.parametrize(("line", "expected"), POOL)
def test_mistakes_in_a_pool(messages: Messages, line: str, expected: str) -> None:
    text = f"server:\npools:\n  email:\n    {line}\n"
    assert messages(text) == [f"config.yaml:4: pools.email.{expected}"]


@pytest.mark.parametrize(("line", "expected"), PROGRAM)
def test_mistakes_in_a_pool_of_a_program(messages: Messages, line: str, expected: str) -> None:
    text = f"server:\npools:\n  legacy:\n    command: php worker.php\n    {line}\n"
    assert messages(text) == [f"config.yaml:5: pools.legacy.{expected}"]


@pytest.mark.parametrize(("line", "expected"), FUNCTION)
def test_mistakes_in_a_function(messages: Messages, line: str, expected: str) -> None:
    text = f"server:\nfunctions:\n  f:\n    {line}\n"
    assert messages(text) == [f"config.yaml:4: functions.f.{expected}"]


@pytest.mark.parametrize(("line", "expected"), SERVER)
def test_mistakes_in_the_server(messages: Messages, line: str, expected: str) -> None:
    assert messages(f"server:\n  {line}\n") == [f"config.yaml:2: server.{expected}"]


@pytest.mark.parametrize(("line", "expected"), TOP)
def test_mistakes_elsewhere(messages: Messages, line: str, expected: str) -> None:
    assert messages(f"server:\n{line}\n") == [f"config.yaml:2: {expected}"]


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("{min: 8, max: 4}", "pools.a.min: 8 is more than max, which is 4 at config.yaml:4: lower min or raise max"),
        ("{min: 8}", "pools.a.min: 8 is more than max, which is 6 at config.yaml:2: lower min or raise max"),
        ("{max: 1}", "pools.a.max: 1 is less than min, which is 2 at config.yaml:2: lower min or raise max"),
        (
            "{min: 3/core, max: 2/core}",
            "pools.a.min: 3/core is more than max, which is 2/core at config.yaml:4: lower min or raise max",
        ),
    ],
)
def test_the_message_for_min_above_max_names_the_place_of_the_other_key(
    messages: Messages, pool: str, expected: str
) -> None:
    assert messages(f"server:\ndefaults: {{min: 2, max: 6}}\npools:\n  a: {pool}\n") == [f"config.yaml:4: {expected}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server:\n  metrics_listen: 4730\n", "2: server.metrics_listen: server.listen is 127.0.0.1:4730 already"),
        (
            "server:\n  listen: jobs:80\n  metrics_listen: jobs:80\n",
            "3: server.metrics_listen: server.listen is jobs:80 already (at config.yaml:2)",
        ),
        (
            "server:\n  listen: 0.0.0.0:80\n  metrics_listen: 10.0.0.1:80\n",
            "3: server.metrics_listen: server.listen is 0.0.0.0:80 already (at config.yaml:2)",
        ),
        (
            "server:\n  listen: '[::1]:80'\n  metrics_listen: '[::]:80'\n",
            "3: server.metrics_listen: server.listen is [::1]:80 already (at config.yaml:2)",
        ),
        (
            "server:\n  listen:\n  - 127.0.0.1:80\n  - 10.0.0.1:80\n  metrics_listen: 10.0.0.1:80\n",
            "5: server.metrics_listen: server.listen is 10.0.0.1:80 already (at config.yaml:4)",
        ),
        (
            "server: {metrics_listen: 4732}\ncontrol: {listen: 4732, token: 0123456789abcdef}\n",
            "2: control.listen: server.metrics_listen is 127.0.0.1:4732 already (at config.yaml:1)",
        ),
        (
            "server: {listen: 4731}\ncontrol: {listen: 4731, token: 0123456789abcdef}\n",
            "2: control.listen: server.listen is 127.0.0.1:4731 already (at config.yaml:1)",
        ),
    ],
)
def test_the_message_for_one_address_under_two_keys_names_both(messages: Messages, text: str, expected: str) -> None:
    assert messages(text) == [f"config.yaml:{expected}: choose another port"]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("10.0.0.1:80", "10.0.0.1:80 can't be listened on beside 0.0.0.0:80: one of them is enough"),
        ("0.0.0.0:80", "0.0.0.0:80 can't be listened on beside 0.0.0.0:80: one of them is enough"),
        ("127.0.0.1:0", "only the port of the first address can be any free one: choose one, such as 4730"),
        ("[::1]:99999", "a port is a number from 0 to 65535, not 99999"),
    ],
)
def test_mistakes_among_several_addresses(messages: Messages, second: str, expected: str) -> None:
    text = f"server:\n  listen:\n  - 0.0.0.0:80\n  - '{second}'\n"
    assert messages(text) == [f"config.yaml:4: server.listen: {expected}"]


@pytest.mark.parametrize(
    "section",
    [
        "{listen: 0, metrics_listen: 0}",
        "{listen: [0, 80]}",
        "{listen: [127.0.0.1:80, '[::1]:80'], metrics_listen: 127.0.0.2:80}",
        "{listen: 0.0.0.0:80, metrics_listen: '[::1]:80'}",
        "{listen: 127.0.0.1:80, metrics_listen: '[::]:80'}",
    ],
)
def test_different_addresses_on_one_port_are_accepted(messages: Messages, section: str) -> None:
    assert messages(f"server: {section}\n") == []


SHARED = "PostgreSQL or MariaDB/MySQL (postgresql+psycopg://… or mysql+pymysql://…)"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (
            "{cluster: {name: shop}}",
            f"cluster: a cluster shares a database, and memory belongs to one job server: set server.store to {SHARED}",
        ),
        (
            "{cluster: {name: shop}, store: sqlite:///jobs.db, instances: 2}",
            "cluster: a cluster shares a database, and a SQLite file belongs to one job server: set server.store to "
            + SHARED,
        ),
        (
            "{instances: 3, store: sqlite:///jobs.db}",
            f"instances: a SQLite file belongs to one job server, not to 3: set server.store to {SHARED}, with "
            "server.cluster, or leave instances out",
        ),
        (
            "{instances: 2, store: 'mysql+pymysql://root@db/jobs'}",
            "instances: several job servers on one database are a cluster: name it, as in cluster: {name: shop}",
        ),
        (
            "{instances: 2, metrics_listen: 4731}",
            "listen: job server 2 would listen on 127.0.0.1:4731, but server.metrics_listen is 127.0.0.1:4731 already "
            "for job server 1 (at config.yaml:1): choose another port",
        ),
        (
            "{instances: 2, metrics_listen: 4729}",
            "metrics_listen: job server 2 would listen on 127.0.0.1:4730, but server.listen is 127.0.0.1:4730 already "
            "for job server 1: choose another port",
        ),
        (
            "{instances: 2, listen: [4730, 4731]}",
            "listen: job server 2 would listen on 127.0.0.1:4731, but server.listen is 127.0.0.1:4731 already for job "
            "server 1 (at config.yaml:1): choose another port",
        ),
        (
            "{store: 'postgresql+psycopg://db/jobs', cluster: {name: shop, announce: '::1'}, listen: 0}",
            "cluster.announce: only a fixed port can be announced: choose that of the first address in server.listen",
        ),
        (
            "{instances: 3, listen: 65534}",
            "listen: 3 job servers need as many ports from 65534 up: choose 65533 at most",
        ),
    ],
)
def test_what_can_not_be_shared_among_several_job_servers(messages: Messages, server: str, expected: str) -> None:
    assert messages(f"server: {server}\n") == [f"config.yaml:1: server.{expected}"]


def test_the_control_address_is_compared_with_each_job_server(messages: Messages) -> None:
    text = "server: {instances: 3}\ncontrol: {listen: 4732, token: 0123456789abcdef}\n"
    expected = "server.listen is 127.0.0.1:4732 already for job server 3: choose another port"
    assert messages(text) == [f"config.yaml:2: control.listen: {expected}"]


@pytest.mark.parametrize(
    "section",
    [
        "{instances: 3}",
        "{listen: 0, metrics_listen: 0, instances: 3}",
        "{store: 'postgresql+psycopg://db/jobs', cluster: {name: shop}}",
        "{store: 'postgresql+psycopg://db/jobs', cluster: {name: shop}, instances: 2}",
    ],
)
def test_several_job_servers_are_accepted(messages: Messages, section: str) -> None:
    assert messages(f"server: {section}\n") == []


def test_sections_within_sections_name_their_own_keys(messages: Messages) -> None:
    text = "server: {results: {max: 1}}\ndrain: {in: 3s}\nfunctions: {f: {per_key: {max: 1}}}\n"
    assert [message.partition("Allowed here: ")[2] for message in messages(text)] == [
        "max_count, max_size, max_data",
        "within, on_sigpwr",
        "max_running, rate",
    ]


def test_a_max_backoff_below_the_backoff_is_reported(messages: Messages) -> None:
    expected = "config.yaml:4: functions.f.max_backoff: max_backoff is less than backoff (at config.yaml:3): raise it"
    assert messages("server:\nfunctions:\n  f: {backoff: 1m,\n      max_backoff: 10s}\n") == [expected]


@pytest.mark.parametrize(
    ("first", "second", "what", "line"),
    [
        ("{functions: [x, y]}", "{functions: [y]}", "y", 3),
        ("{functions: '*'}", "{functions: ['*']}", "'*'", 3),
        ("{functions: [second]}", "{max: 3}", "second", 3),
        ("{functions: [p.x]}", "{functions: [x]}", "x", 3),
        ("{functions: [x], command: php}", "{functions: [x], command: perl}", "x", 3),
    ],
)
def test_the_message_for_a_function_in_two_pools_names_both_places(
    messages: Messages, first: str, second: str, what: str, line: int
) -> None:
    expected = (
        f"config.yaml:4: pools.second.functions: {what} is in the pool first already (at config.yaml:{line}): "
        "a function belongs to one pool, take it out of one"
    )
    assert messages(f"server:\npools:\n  first: {first}\n  second: {second}\nprefix: p.\n") == [expected]


def test_all_mistakes_of_all_files_are_reported_at_once_and_in_order(messages: Messages) -> None:
    text = (
        "include: more.yaml\n"
        "server: {listen: 99999}\n"
        "pools:\n"
        "  a: {min: 3, max: 2, max_memry: 1GB}\n"
        "  b:\n"
        "    functions: [x,\n"
        "      'y y']\n"
        "    max: 2\n"
        "    max: 3\n"
        "functions: {f: {timeout: '${GONE}'}}\n"
    )
    found = messages(text, {}, {"more.yaml": "pools:\n  c: {functions: [a], scale: {idle: 5}}\nlog: {level: loud}\n"})
    assert [message.split(": ")[:2] for message in found] == [
        ["config.yaml:2", "server.listen"],
        ["config.yaml:4", "pools.a.max_memry"],
        ["config.yaml:4", "pools.a.min"],
        ["config.yaml:7", "pools.b.functions"],
        ["config.yaml:9", "pools.b.max"],
        ["config.yaml:10", "functions.f.timeout"],
        ["more.yaml:2", "pools.c.scale.idle"],
        ["more.yaml:2", "pools.c.functions"],
        ["more.yaml:3", "log.level"],
    ]


def test_the_consequences_of_a_mistake_are_not_reported(messages: Messages) -> None:
    assert len(messages("servrs: [a]\n")) == 1
    assert len(messages("server: {listen: x y, metrics_listen: 4730}\n")) == 1
    assert len(messages("server:\npools:\n  a: {min: none, scale: {idle: 5m}}\n")) == 1
    assert len(messages("server:\npools:\n  a: {functons: [x], max: 2}\n  b: {functions: [a]}\n")) == 1


@pytest.mark.parametrize("text", ["server: {listen: 99999}\n", "pools: {a: {min: x, foo: 1}}\n", "servers: [{}]\n"])
def test_the_user_never_sees_words_of_the_validating_library(messages: Messages, text: str) -> None:
    for message in messages(text):
        assert "Input" not in message
        assert "type=" not in message
        assert "pydantic" not in message
