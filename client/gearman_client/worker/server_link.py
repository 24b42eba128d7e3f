"""A worker's link to one job server: it connects, greets, grabs, sleeps, and reconnects after a loss.

The worker decides which link to ask and when. A link waits only for the answer to its own grab. States: link_state.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import ClassVar, Final

from gearman_client.address import Address
from gearman_client.connection.connecting import ConnectAttempt
from gearman_client.connection.connection import Connection
from gearman_client.errors import ConnectionLost, CouldNotConnect, ProtocolError, Timeout
from gearman_client.extensions import JOB_ATTEMPT_OPTION, OWN_STOPS_OPTION
from gearman_client.packet import Packet, PacketType, encode_request
from gearman_client.text import to_argument, to_text
from gearman_client.worker.assignments import ASSIGNMENT_HANDLERS, GrabRequest, Handlers, MakeJob
from gearman_client.worker.heard_stops import HeardStops
from gearman_client.worker.link_context import KNOWN_OPTIONS, UNKNOWN_OPTION, LinkContext
from gearman_client.worker.link_state import LinkEvent, LinkState, next_state
from gearman_client.worker.probe import ARE_YOU_THERE, Probe
from gearman_client.worker.worker_job import WorkerJob

#: A job waits for a slow server when more than this much progress and data is unsent.
MAX_UNSENT_BYTES: Final = 1024 * 1024
#: The limit of the packets up to the end of a grab's answer: the jobs of a set, and as many ERROR and NOOP packets.
MAX_PACKETS_BEFORE_REPLY: Final = 2000

_PRE_SLEEP: Final = encode_request(PacketType.PRE_SLEEP)


class ServerLink:
    """One job server of a worker. Call `tick` at `due_at` (monotonic; infinite: never)."""

    def __init__(self, address: Address, context: LinkContext) -> None:
        self.address = address
        self.connection: Connection | None = None
        self.state = LinkState.DOWN
        self.server_is_ours = self.takes_lists = False
        self.done: list[WorkerJob] = []
        self.extensions: set[bytes] = set()
        self.former_extensions: frozenset[bytes] = frozenset()
        self.due_at, self._context = 0.0, context
        self._attempt: ConnectAttempt | None = None
        #: The number of connections and attempts in a row that ended early.
        self._failures = 0
        self._up_since = 0.0
        self._assigned: WorkerJob | None = None
        #: The handles whose answers no later reply of the server has confirmed.
        self._unconfirmed: list[bytes] = []
        self._stops = HeardStops()
        self._probe = Probe(context.settings)
        self._grab = GrabRequest(unique=context.settings.grab_unique)

    @property
    def can_go_on(self) -> bool:
        """Whether jobs of a connection that is gone go on: not with this server alone."""
        return False

    @property
    def must_leave(self) -> bool:
        """Whether the worker was told to end."""
        return self._context.must_leave()

    # --- connecting

    def tick(self, now: float) -> None:
        """Do what is due: connect, or give up on an attempt or a greeting that takes too long."""
        if now < self.due_at:
            return
        if self.state is LinkState.DOWN:
            self._connect(now)
        elif self.state is LinkState.CONNECTING:
            self._go_on_connecting(now)
        elif self.state is LinkState.GREETING:
            self._lose(f"no answer for {self._context.settings.reply_timeout_s:g} s")
        elif self.state is LinkState.ASLEEP:
            self._ask_whether_there(now)

    def on_ready(self) -> None:
        """The watched descriptor of this link can be read, or its connection is established."""
        if self.state is LinkState.CONNECTING:
            self._go_on_connecting(monotonic())
        elif self.connection is not None:
            self._guard(self._receive)

    def _connect(self, now: float) -> None:
        self._to(LinkEvent.CONNECT)
        try:
            self._attempt = ConnectAttempt(self.address, self._context.settings.connect_timeout_s, now)
        except CouldNotConnect as error:
            self._unreachable(str(error), now)
            return
        self._go_on_connecting(now)

    def _go_on_connecting(self, now: float) -> None:
        attempt = self._attempt
        if attempt is None:
            return
        self._context.readiness.forget(self)
        try:
            sock = attempt.advance(now)
        except CouldNotConnect as error:
            self._unreachable(str(error), now)
            return
        if sock is None:
            self.due_at = attempt.deadline
            self._context.readiness.watch(self, attempt.fileno(), attempt.events)
            return
        self._attempt = None
        try:
            self.connection = Connection(sock, self.address, stall_s=self._context.settings.reply_timeout_s)
        except OSError as error:  # the peer reset it before we used it
            sock.close()
            self._unreachable(error.strerror or str(error), now)
            return
        self._guard(self._greet)

    def _greet(self, connection: Connection) -> None:
        settings = self._context.settings
        self._to(LinkEvent.CONNECTED)
        self._up_since = monotonic()
        self.due_at = self._up_since + settings.reply_timeout_s
        self._context.readiness.watch_readable(self, connection.fileno())
        if settings.client_id:
            connection.queue(encode_request(PacketType.SET_CLIENT_ID, to_argument(settings.client_id, "client id")))
        if settings.job_attempt and settings.grab_unique:
            connection.queue(encode_request(PacketType.OPTION_REQ, JOB_ATTEMPT_OPTION))
        else:
            connection.queue(encode_request(PacketType.ECHO_REQ, b"greeting"))
        for function in self._context.functions:
            connection.queue(encode_request(PacketType.CAN_DO, function))
        connection.flush()

    def _ask_whether_there(self, now: float) -> None:
        """Send the question to a server that has said nothing for a while; without an answer it is lost."""
        if self._probe.is_sent:
            self._lose(f"no answer for {self._probe.answer_s:g} s to the question whether it is there")
        elif self._send(ARE_YOU_THERE):
            self._probe.sent(now)
            self._schedule_probe()

    def _was_heard(self) -> None:
        """Wait for the next silence."""
        if self.state is LinkState.ASLEEP:
            self._probe.wait(monotonic())
        else:
            self._probe.stop()
        self._schedule_probe()

    def _schedule_probe(self) -> None:
        self.due_at = self._probe.due_at

    # --- registering

    def can_do(self, function: bytes) -> None:
        """Register one more function, and ask again, because this does not make a server wake a sleeping worker."""
        if self._send(encode_request(PacketType.CAN_DO, function)):
            self._to(LinkEvent.WAKE)
            self._was_heard()

    def cant_do(self, function: bytes) -> None:
        """Withdraw a function."""
        self._send(encode_request(PacketType.CANT_DO, function))

    def _send(self, packet: bytes) -> bool:
        connection = self.connection
        if connection is None:
            return False  # the greeting of the next connection includes it
        connection.queue(packet)
        self._guard(Connection.flush)
        return self.connection is connection

    # --- working

    def grab(self) -> WorkerJob | None:
        """Send the pending answers and a grab in one write, and wait for the reply. None: no job, or the link broke."""
        connection = self.connection
        if connection is None:
            return None
        self._to(LinkEvent.GRAB)
        connection.queue(self._grab.packet)
        self._guard(self._await_reply)
        job, self._assigned = self._assigned, None
        return job

    def answer(self, connection: Connection | None, handle: bytes, packet: bytes, _attempt: int = 0) -> None:
        """Queue a job's final answer for the next write, if the connection that assigned the job still exists."""
        if connection is None or connection is not self.connection:
            self._context.observer.result_lost(self.address, to_text(handle))
            return
        connection.queue(packet)
        self._unconfirmed.append(handle)
        self._stops.answered(handle)

    def hears_stop(self, connection: Connection | None, handle: bytes) -> bool:
        """Whether the server has said that this job is to be stopped. Looks at what has arrived, once a millisecond."""
        if OWN_STOPS_OPTION in self.extensions and connection is self.connection and self._stops.is_look_due():
            self._look_for_stops()
        return self._stops.has(handle)

    def _look_for_stops(self) -> None:
        self._guard(lambda connection: self._handle(connection.try_receive()))

    def tell(self, connection: Connection | None, packet: bytes, _attempt: int = 0) -> None:
        """Send a report of a running job, as far as the server takes it now."""
        if connection is None or connection is not self.connection:
            return
        connection.queue(packet)
        self._guard(lambda connection: connection.send_some(MAX_UNSENT_BYTES))

    def flush(self) -> None:
        """Send everything that is queued."""
        self._guard(Connection.flush)

    def leave(self) -> None:
        """Close the descriptor without a word to the server: another process has the connection."""
        if self.connection is not None:
            self._context.readiness.forget(self)
            self.connection.close()
            self.connection = None

    def begin_close(self) -> None:
        """Send everything that is queued, then tell the server that nothing follows."""
        self.flush()
        if self.connection is not None:
            self.connection.finish_sending()

    def close(self, deadline: float) -> None:
        """Give the server until `deadline` (monotonic) to read everything, then close for good."""
        self._context.readiness.forget(self)
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None
        if self.connection is not None:
            self.connection.read_to_end(deadline)
            self.connection.close()
            self.connection = None
        self.state = next_state(self.state, LinkEvent.LOST)
        self.due_at = inf

    # --- receiving

    def _await_reply(self, connection: Connection) -> None:
        connection.flush()
        packets = 0
        while self.state is LinkState.GRABBING:
            packets += self._receive(connection)
            if packets > MAX_PACKETS_BEFORE_REPLY:
                raise ProtocolError("the server sends everything but the answer to a grab")
        connection.try_flush()  # PRE_SLEEP

    def _receive(self, connection: Connection) -> int:
        packets = connection.receive()
        self._handle(packets)
        return len(packets)

    def _handle(self, packets: Sequence[Packet]) -> None:
        for packet_type, body in packets:
            handler = self._handlers.get(packet_type)
            if handler is None:
                raise ProtocolError(f"a worker does not expect packet type {packet_type}")
            handler(self, body)

    def _replied(self, event: LinkEvent) -> None:
        """A grab was answered, so the server has read everything sent before it."""
        self._to(event)
        self._unconfirmed.clear()

    def _on_no_job(self, _body: bytes) -> None:
        self._replied(LinkEvent.NO_JOB)
        if self.connection is not None and self.state is LinkState.ASLEEP:
            self.connection.queue(_PRE_SLEEP)
            self._was_heard()

    def _on_noop(self, _body: bytes) -> None:
        self._to(LinkEvent.WAKE)
        self._was_heard()

    def _on_echo(self, body: bytes) -> None:
        if self.state is LinkState.GREETING:
            self._on_greeted(body)
        else:
            self._was_heard()

    def assign(
        self, handle: bytes, function: bytes, unique: bytes, workload: bytes, make: MakeJob = WorkerJob
    ) -> WorkerJob:
        """Take the job that the server gives."""
        self._replied(LinkEvent.ASSIGNED)
        name = self._context.functions.get(function) or to_text(function)
        self._assigned = job = make(self, handle, name, unique, workload)
        return job

    def _on_option(self, body: bytes) -> None:
        if body in KNOWN_OPTIONS:
            self.extensions.add(body)
            return
        self.server_is_ours = body == JOB_ATTEMPT_OPTION
        self._on_greeted(body)
        if self.server_is_ours:
            self._ask_for_extensions()

    def _ask_for_extensions(self) -> None:
        self._queue(self._context.option_requests())

    def _queue(self, packet: bytes) -> None:
        if self.connection is not None:
            self.connection.queue(packet)

    def _on_greeted(self, _body: bytes) -> None:
        self._to(LinkEvent.GREETED)
        self.due_at = inf
        self._context.observer.connected(self.address)

    def _on_error(self, body: bytes) -> None:
        """During the greeting: the option is unknown, so the server is not ours. Later: it refused our answer."""
        if self.state is LinkState.GREETING:
            self._on_greeted(body)
            return
        if body.startswith(UNKNOWN_OPTION):
            return  # a server of ours from before that extension: its part of the worker does without
        if self._probe.is_sent:
            self._probe.refused()
            self._schedule_probe()
            return
        if self.state is LinkState.GRABBING and self._grab.is_unknown(body):
            self._send(self._grab.packet)
            return
        code, _, text = body.partition(b"\0")
        self._context.observer.server_error(self.address, to_text(code), to_text(text))

    #: The class's, not the link's: a bound method counts a reference, on the page of its function.
    _handlers: ClassVar[Handlers] = {
        PacketType.NO_JOB: _on_no_job,
        PacketType.NOOP: _on_noop,
        PacketType.OPTION_RES: _on_option,
        PacketType.ECHO_RES: _on_echo,
        PacketType.ERROR: _on_error,
        **ASSIGNMENT_HANDLERS,
    }

    # --- losing

    def _guard(self, action: Callable[[Connection], object]) -> None:
        """Run `action` on the connection, if there is one; an error that ends the connection ends only this link."""
        connection = self.connection
        if connection is None:
            return
        try:
            action(connection)
        except (ConnectionLost, ProtocolError, Timeout) as error:
            self._lose(str(error))

    def _lose(self, reason: str) -> None:
        was_up = self.state > LinkState.GREETING
        now = monotonic()
        self._forget_connection()
        settings = self._context.settings
        if was_up and now - self._up_since >= settings.max_backoff_s:
            self._failures = 0
        # A connection that was up is opened again at once. A server that keeps hanging up is treated like one that is
        # down.
        self.due_at = now if was_up and self._failures == 0 else now + self._context.backoff_s(self._failures)
        self._failures += 1
        if was_up:
            self._context.observer.disconnected(self.address, reason)
        else:
            self._context.observer.unreachable(self.address, reason)
        self._report_lost_results()

    def _unreachable(self, reason: str, now: float) -> None:
        self._forget_connection()
        self._failures += 1
        self.due_at = now + self._context.backoff_s(self._failures)
        self._context.observer.unreachable(self.address, reason)

    def _forget_connection(self) -> None:
        self._to(LinkEvent.LOST)
        self._context.readiness.forget(self)
        self._attempt = None
        self._assigned = None
        self.server_is_ours = False
        self.extensions.clear()
        self._stops.clear()
        self._probe.start_anew()
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _report_lost_results(self) -> None:
        handles, self._unconfirmed = self._unconfirmed, []
        for handle in handles:
            self._context.observer.result_lost(self.address, to_text(handle))

    def _to(self, event: LinkEvent) -> None:
        self.state = next_state(self.state, event)
