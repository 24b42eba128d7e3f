"""PostgreSQL and MySQL or MariaDB: databases that a server of their own looks after."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gearman_server.errors import StoreError
from gearman_server.stores.many_values import STATEMENT_BYTES, ManyValues, chunks, fixed_columns, workload_sizes
from gearman_server.stores.rows import FULL, JOBS, OWNER, PLAIN, Layout, Row, options_of, plain_rows

if TYPE_CHECKING:
    from gearman_server.jobs.job import Job

#: How long a server that is declared dead may hold its row. A transaction that is longer idle is ended.
FENCE_PATIENCE_S: Final = 1.0
_END_IDLE: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    " AND state_change < now() - make_interval(secs => :idle_s) AND pid IN"
    " (SELECT pid FROM pg_locks WHERE relation = 'gearman_servers'::regclass)"
)
_IDLE_IN_TRANSACTION: Final = text(
    "SELECT process.id FROM information_schema.innodb_trx trx"
    " JOIN information_schema.processlist process ON process.id = trx.trx_mysql_thread_id"
    " WHERE process.db = DATABASE() AND process.command = 'Sleep' AND process.time >= :idle_s"
)
#: The other columns of a row of MySQL, escaped, with the statement around them.
_OTHER_COLUMNS_BYTES: Final = 20_000
#: A row with a smaller workload fits into any packet: the least that MySQL's can be is 1 MiB, and options take 64 KiB.
_BIG_BYTES: Final = 256 << 10


class _Remote:
    """A database that a server of its own looks after."""

    wants_looks = False
    # A lock of a session says nothing about another node of a cluster, or the sessions behind a proxy.
    is_lock_weak = True

    def disown(self) -> None:
        pass

    def open(self) -> None:
        pass

    def begin_ownership(self, driver_connection: Any) -> None:
        pass

    def check(self, *, is_brief: bool = False) -> None:
        pass

    def repair(self, driver_connection: Any) -> bool:
        return False

    def check_room(self, connection: Connection, workload_bytes: int) -> None:
        pass

    def empty_log(self, driver_connection: Any) -> None:
        pass

    def note_closed(self) -> None:
        pass

    def obstacle(self) -> str | None:
        return None


class PostgreSql(_Remote):
    """Rows are sent as one array per column; the owner holds an advisory lock."""

    _TYPES: Final = {
        **dict.fromkeys(("state", "priority"), "smallint"),
        **dict.fromkeys(("requeues", "failures"), "integer"),
        **dict.fromkeys(("run_at", "submitted_at"), "float8"),
        "id": "bigint",
    }

    def __init__(self) -> None:
        self.use_owner(OWNER)

    def use_owner(self, owner: int) -> None:
        self._texts = {layout: self._text(layout, owner) for layout in (FULL, PLAIN)}

    def _text(self, layout: Layout, owner: int) -> str:
        arrays = ", ".join(f"%s::{self._TYPES.get(column, 'bytea')}[]" for column in layout.columns)
        fixed = fixed_columns(layout, owner)
        names, values = ", ".join([*fixed, *layout.columns]), ", ".join([*fixed.values(), "given.*"])
        return f"INSERT INTO {JOBS} ({names}) SELECT {values} FROM unnest({arrays}) AS given"

    def connect_options(self, timeout_s: float) -> dict[str, Any]:
        seconds = max(2, int(timeout_s))
        return {
            "connect_timeout": seconds,
            "fallback_application_name": "gearman-server",
            "keepalives_idle": 30,
            "tcp_user_timeout": seconds * 1000,
        }

    def prepare(self, driver_connection: Any) -> None:
        pass

    def begin(self, connection: Connection) -> None:
        pass

    def insert(self, connection: Connection, layout: Layout, rows: Sequence[Row]) -> None:
        for chunk in chunks(rows, workload_sizes(rows), STATEMENT_BYTES):
            values = tuple(list(column) for column in zip(*chunk, strict=True))
            connection.exec_driver_sql(self._texts[layout], values)

    def insert_plain(self, connection: Connection, jobs: Sequence[Job], offset_s: float) -> None:
        self.insert(connection, PLAIN, plain_rows(jobs, offset_s))

    def is_atomic(self, jobs: Sequence[Job], size_bytes: int) -> bool:
        return False

    def refused(self, driver_connection: Any, jobs: Sequence[Job]) -> list[Job]:
        return []

    def room_bytes(self) -> int | None:
        return None

    @property
    def sharing(self) -> PostgreSqlShared:
        return PostgreSqlShared()

    def own(self, connection: Connection) -> bool:
        schema, session = connection.execute(text("SELECT current_schema(), pg_backend_pid()")).one()
        driver_connection: Any = connection.connection.driver_connection
        if session != driver_connection.info.backend_pid:
            raise StoreError(
                "the connection leads to a pooler, such as PgBouncer, whose sessions others use too: the lock of the"
                " store's owner would not hold, or stay for ever; give the address of PostgreSQL itself"
            )
        return bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _lock_key(schema)}).scalar())

    def break_off(self, driver_connection: Any) -> None:
        _shut_down(driver_connection.fileno())


def _lock_key(schema: str) -> int:
    return int.from_bytes(hashlib.sha256(f"gearman-server {schema}".encode()).digest()[:7])


class PostgreSqlShared:
    """What PostgreSQL does for several servers, also behind a pooler that shares its sessions between transactions."""

    def connect_options(self) -> dict[str, Any]:
        return {"prepare_threshold": None}  # a prepared statement belongs to a session

    def own_briefly(self, connection: Connection) -> bool:
        schema = connection.execute(text("SELECT current_schema()")).scalar_one()
        trying = text("SELECT pg_try_advisory_xact_lock(:key)")
        return bool(connection.execute(trying, {"key": _lock_key(schema)}).scalar())

    def disown_briefly(self, connection: Connection) -> None:
        pass

    def node(self, connection: Connection) -> str:
        # The timeline, which is a new one after a promotion. A standby refuses the question.
        return str(connection.execute(text("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)")).scalar())

    def bound_waits(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(FENCE_PATIENCE_S * 1000)}")

    def end_blockers(self, connection: Connection) -> int:
        return len(connection.execute(_END_IDLE, {"idle_s": FENCE_PATIENCE_S}).all())


class MySql(ManyValues, _Remote):
    """MySQL and MariaDB; the owner holds a lock made by GET_LOCK."""

    def __init__(self) -> None:
        super().__init__("%s", FULL, PLAIN)
        self._packet_bytes = 1 << 20

    def connect_options(self, timeout_s: float) -> dict[str, Any]:
        return {"connect_timeout": max(1, int(timeout_s)), "read_timeout": timeout_s, "write_timeout": timeout_s}

    def prepare(self, driver_connection: Any) -> None:
        with driver_connection.cursor() as cursor:
            # READ COMMITTED: a delete of many rows locks no gaps between them.
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # Otherwise a name that is too long would be cut silently.
            cursor.execute("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')")
            cursor.execute("SELECT @@max_allowed_packet")
            self._packet_bytes = int(cursor.fetchone()[0])
        self.statement_bytes = min(STATEMENT_BYTES, self._packet_bytes // 4)  # escaping can double it

    def begin(self, connection: Connection) -> None:
        pass

    def insert_plain(self, connection: Connection, jobs: Sequence[Job], offset_s: float) -> None:
        self.insert(connection, PLAIN, plain_rows(jobs, offset_s))

    def is_atomic(self, jobs: Sequence[Job], size_bytes: int) -> bool:
        return False

    def _sizes(self, layout: Layout, rows: Sequence[Row]) -> list[int]:
        """Include the names of functions, which can be long: a statement must fit into a packet."""
        name = layout.columns.index("function_name")
        if layout is PLAIN:
            return [len(row[name]) + len(row[-1]) for row in rows]
        error, options = layout.columns.index("last_error"), layout.columns.index("options")
        return [len(row[name]) + len(row[error] or b"") + len(row[options] or b"") + len(row[-1]) for row in rows]

    def refused(self, driver_connection: Any, jobs: Sequence[Job]) -> list[Job]:
        """A packet above the server's bound ends the connection, and with it the rest of the batch."""
        room_bytes = self._packet_bytes - _OTHER_COLUMNS_BYTES
        texts = [(job, (job.workload, options_of(job) or b"")) for job in jobs if len(job.workload) > _BIG_BYTES]
        big = [(job, parts) for job, parts in texts if sum(map(len, parts)) * 2 > room_bytes]
        return [job for job, parts in big if sum(len(driver_connection.escape(part)) for part in parts) > room_bytes]

    def room_bytes(self) -> int | None:
        return (self._packet_bytes - _OTHER_COLUMNS_BYTES) // 2  # escaping can double it

    @property
    def sharing(self) -> MySqlShared:
        return MySqlShared()

    def own(self, connection: Connection) -> bool:
        return _get_lock(connection)

    def break_off(self, driver_connection: Any) -> None:
        _shut_down(driver_connection._sock.fileno())


def _lock_name(connection: Connection) -> str:
    database = connection.execute(text("SELECT DATABASE()")).scalar()
    return "gearman-server " + hashlib.sha256(str(database).encode()).hexdigest()[:32]


def _get_lock(connection: Connection) -> bool:
    name = _lock_name(connection)
    return connection.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": name}).scalar() == 1


class MySqlShared:
    """What MySQL and MariaDB do for several servers."""

    def connect_options(self) -> dict[str, Any]:
        return {}

    def own_briefly(self, connection: Connection) -> bool:
        return _get_lock(connection)

    def disown_briefly(self, connection: Connection) -> None:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _lock_name(connection)})

    def node(self, connection: Connection) -> str:
        if connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").first() == ("wsrep_on", "ON"):
            return "Galera"  # what one node has committed, the others have
        return str(connection.exec_driver_sql("SELECT CONCAT(@@hostname, ':', @@port, ':', @@server_id)").scalar())

    def bound_waits(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {max(1, int(FENCE_PATIENCE_S))}")

    def end_blockers(self, connection: Connection) -> int:
        idle = connection.execute(_IDLE_IN_TRANSACTION, {"idle_s": FENCE_PATIENCE_S}).scalars().all()
        for session in idle:
            with contextlib.suppress(DBAPIError):  # it has just ended
                connection.exec_driver_sql(f"KILL {int(session)}")
        return len(idle)


def _shut_down(descriptor: int) -> None:
    """End the input of a call that waits for the socket. The descriptor stays with its owner."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
