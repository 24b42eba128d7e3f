"""The calls that write background jobs into the outbox, in the transaction of the program's other changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import time
from typing import Any, Final, Unpack
from uuid import uuid4

from gearman_client.arguments import check_options
from gearman_client.client.codec import BYTES, Codec
from gearman_client.client.submission import UNSET, SubmissionSettings, Unset
from gearman_client.errors import ArgumentError
from gearman_client.outbox.connections import insert, target_of
from gearman_client.outbox.row import OutboxOptions, Row, row_of
from gearman_client.outbox.schema import TABLE, check_table, create_statements
from gearman_client.text import to_argument

#: The options that can't be the same for many jobs: with one submission, or one unique id, they would be one job.
_OF_ONE: Final = frozenset({"submission", "unique"})
#: The most rows of `background_many` that are held at once.
_ROWS_AT_ONCE: Final = 500


class Outbox:
    """An outbox with settings of its own; the functions of `gearman_client.outbox` are the methods of a default one.

    table: the name of its table, with a schema if need be.
    codec: makes workloads of other values; None: workloads are bytes or text.
    namespace: put before the name of each function, as of a `Client`.
    settings: instead of these two, the settings of a client for its submissions.

    Raises:
        ArgumentError: the table's name is none, or the namespace is no text.
    """

    def __init__(
        self,
        *,
        table: str = TABLE,
        codec: Codec[Any, Any] | None = None,
        namespace: str = "",
        settings: SubmissionSettings | None = None,
    ) -> None:
        to_argument(namespace, "namespace")
        self.table = check_table(table)
        self._settings = settings or SubmissionSettings(BYTES if codec is None else codec, namespace)

    def background(
        self,
        connection: Any,
        function: str,
        workload: Any | Unset = UNSET,
        *,
        json: Any = UNSET,
        **options: Unpack[OutboxOptions],
    ) -> str:
        """Write a background job into the outbox, in the transaction that the connection is in.

        After the commit `gearman-manager outbox` hands it to a job server, once; after a rollback there is no job.
        Without a transaction, in autocommit, the row is there at once.

        connection: a DB-API connection, a `Connection` or `Session` of SQLAlchemy, or Django's connection.
        workload, json, and the options: as of `Client.submit_background`. Durations count from now.
        Returns the id of the submission: `submission`, or a new one.

        Raises:
            ArgumentError: a name, an id, an option or the workload can't be sent, or it is no connection. Nothing was
                inserted.
            TypeError: there is no such keyword argument, or no workload. Nothing was inserted.
            OutboxError: there is no table; the text says how to make it.
            Exception: errors of the database are those of its own library.
        """
        others = ("connection", "function", "workload", "json")
        check_options("background", options, OutboxOptions.__annotations__, others)
        row = self._row((function, workload, json), options)
        insert(connection, self.table, [row])
        return row.submission

    def background_many(
        self, connection: Any, function: str, workloads: Iterable[Any], **options: Unpack[OutboxOptions]
    ) -> list[str]:
        """Write many background jobs of one function, as `background`. Returns their ids in the same order.

        The workloads may come from a generator; 500 rows are inserted at once.

        Raises:
            ArgumentError, TypeError, OutboxError: as `background`; of earlier workloads there may be rows, until the
                caller rolls back.
        """
        others = ("connection", "function", "workloads")
        check_options("background_many", options, OutboxOptions.__annotations__, others)
        for name in _OF_ONE & options.keys():
            if options.get(name) is not None:
                raise ArgumentError(f"{name}: with one for all of them, many jobs would be one")
        if isinstance(workloads, str | bytes | bytearray | memoryview) or not isinstance(workloads, Iterable):
            raise ArgumentError(f"workloads: expected a list or another iterable, not {type(workloads).__name__}")
        target_of(connection)
        submissions: list[str] = []
        rows: list[Row] = []
        for workload in workloads:
            rows.append(self._row((function, workload, UNSET), options))
            submissions.append(rows[-1].submission)
            if len(rows) == _ROWS_AT_ONCE:
                insert(connection, self.table, rows)
                rows = []
        if rows:
            insert(connection, self.table, rows)
        return submissions

    def create_table(self, connection: Any) -> None:
        """Make the table, if it is not there, in the connection's transaction. MySQL and MariaDB commit before and
        after such a statement.

        Raises:
            ArgumentError: it is no connection, or not one to SQLite, PostgreSQL, MySQL or MariaDB.
        """
        target = target_of(connection)
        for statement in create_statements(target.dialect, self.table):
            target.execute(statement)

    def _row(self, job: tuple[str, Any, Any], options: Mapping[str, Any]) -> Row:
        submission = options.get("submission")
        given = OutboxOptions(**options)  # type: ignore[typeddict-item]
        return row_of(self._settings, job, given, uuid4().hex if submission is None else submission, time())


_default: Final = Outbox()
background = _default.background
background_many = _default.background_many
create_table = _default.create_table
