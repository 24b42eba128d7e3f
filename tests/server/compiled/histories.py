"""Random histories of peers that send requests, right and mangled, to a broker; prints a digest of all replies of each.

`histories.py FIRST COUNT`: the seeds. The numbers depend on the seed alone, so that two cores can be compared.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from random import Random

import gearman_server  # noqa: F401 - it chooses the core
from gearman_client.extensions import CAN_DO_MANY, GET_RESULT, GRAB_JOBS, JOBS_COMPLETE, SUBMIT_JOBS, WORK_FAILURE
from gearman_client.packet import REQUEST_MAGIC, PacketParser, PacketType, encode_request, encode_workloads
from gearman_server.broker import Broker
from gearman_server.broker_settings import BrokerSettings
from gearman_server.compiled.choosing import CHOICE
from gearman_server.jobs.access import Identity
from gearman_server.jobs.session import Session
from gearman_server.jobs.store import MemoryStore
from gearman_server.text_commands.admin import ServerFacts

STEPS = 150
FUNCTIONS = (b"f", b"g", b"h")
OPTIONS = (
    *(b"exceptions", b"job-attempt", b"job-failure", b"job-result", b"queue-events", b"server-troubles", b"grab-many"),
    *(b"servers", b"plain-sets", b"submit-many", b"no such option"),
)
LINES = (
    *(b"status", b"prioritystatus", b"show jobs", b"show unique jobs", b"version", b"getpid", b"verbose", b"jobs"),
    *(
        b"maxqueue f 3",
        b"maxqueue f",
        b"create function g",
        b"drop function g",
        b"cancel job H:x:3",
        b"dead",
        b"schedules",
    ),
    *(b"policy f max_running=1", b"policy f", b"no such command", b"\xff\0", b"shutdown"),
)


class Peer:
    """A session, the parser of what it sends, and the handles that it has seen."""

    def __init__(self, broker: Broker, number: int) -> None:
        self.session: Session = broker.connect(Identity("127.0.0.1"), number)
        self.parser = PacketParser(REQUEST_MAGIC, max_body_bytes=10_000, accepts_text=True)


class History:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now, self.unix_time = 1000.0, 1_700_000_000.0
        settings = BrokerSettings(
            handle_prefix=b"H:x", worker_wakeup=self.chance.choice([0, 0, 2]), allow_shutdown=True
        )
        facts = ServerFacts("1", 1, "INFO")
        self.broker = Broker(MemoryStore(), settings, facts, lambda: self.unix_time, Random(seed).random)
        self.peers = [Peer(self.broker, n) for n in range(6)]
        self.count = len(self.peers)
        self.replies = hashlib.sha256()

    def run(self) -> str:
        """A digest of every reply, in order."""
        for _ in range(STEPS):
            self.step()
        return self.replies.hexdigest()

    def step(self) -> None:
        """One peer sends something; or time passes."""
        chance = self.chance
        self.now += chance.choice([0.0, 0.0001, 0.01, 1.0])
        at = chance.randrange(len(self.peers))
        peer = self.peers[at]
        if chance.random() < 0.05:
            self.broker.tick(self.now)
        elif peer.session.ending is not None or chance.random() < 0.02:
            self.broker.disconnect(peer.session, "left")
            self.peers[at] = Peer(self.broker, self.count)
            self.count += 1
        else:
            self.send(peer, b"".join(self.requests()))
        self.broker.end_pass()
        while self.broker.chores:
            self.broker.do_chore(self.now)
            self.broker.end_pass()
        for each in self.peers:
            self.take(each)

    def send(self, peer: Peer, data: bytes) -> None:
        """In some pieces."""
        while data:
            size = self.chance.choice([1, 7, 100, len(data), len(data)])
            packets = peer.parser.feed(data[:size])
            data = data[size:]
            self.broker.receive(peer.session, packets, self.now)
            if peer.parser.violation is not None:
                self.broker.end_for_violation(peer.session, b"INVALID_PACKET", str(peer.parser.violation))

    def take(self, peer: Peer) -> None:
        """Its replies, and what it may send further."""
        session = peer.session
        while session.has_piece or session.can_go_on:
            if session.has_piece:
                session.send_piece()
            else:
                self.broker.go_on(session, self.now)
        self.replies.update(b"%d %d " % (session.number, session.ending is not None) + b"".join(session.out))
        session.out.clear()

    def requests(self) -> Iterator[bytes]:
        """Some requests, now and then with a flipped bit."""
        chance = self.chance
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            data = self.line() if chance.random() < 0.15 else encode_request(*self.packet())
            if chance.random() < 0.02:
                mangled = bytearray(data)
                mangled[chance.randrange(len(mangled))] ^= 1 << chance.randrange(8)
                data = bytes(mangled)
            yield data

    def line(self) -> bytes:
        """A text command."""
        return self.chance.choice(LINES) + b"\n"

    def packet(self) -> tuple[int, *tuple[bytes, ...]]:
        """A request, mostly one that can be carried out."""
        chance, types = self.chance, PacketType
        name = chance.choice(FUNCTIONS)
        handle = b"H:x:%d" % chance.randrange(1, 20)
        unique = chance.choice([b"", b"", b"-", b"u1", b"u2", b"u" * 70])
        workload = chance.choice([b"", b"w", b"a\0b", b"x" * 300])
        submits = [kind for kind in types if kind.name.startswith("SUBMIT_JOB") and kind < types.SUBMIT_JOB_SCHED]
        choices: list[tuple[int, *tuple[bytes, ...]]] = [
            *[(kind, name, unique, workload) for kind in submits],
            (types.SUBMIT_JOB_EPOCH, name, unique, b"%d" % (1_700_000_000 + chance.randrange(-9, 9)), workload),
            (types.SUBMIT_REDUCE_JOB, name, unique, b"reducer", b"", workload),
            *[(types.CAN_DO, name)] * 3,
            (types.CAN_DO_TIMEOUT, name, b"1"),
            (types.CANT_DO, name),
            (types.RESET_ABILITIES,),
            (types.SET_CLIENT_ID, b"client"),
            (types.OPTION_REQ, chance.choice(OPTIONS)),
            *[(kind,) for kind in (types.GRAB_JOB, types.GRAB_JOB_UNIQ, types.GRAB_JOB_ALL, types.PRE_SLEEP)] * 3,
            *[(types.WORK_COMPLETE, handle, workload)] * 3,
            (types.WORK_FAIL, handle),
            (types.WORK_EXCEPTION, handle, workload),
            (types.WORK_DATA, handle, workload),
            (types.WORK_WARNING, handle, workload),
            (types.WORK_STATUS, handle, b"1", b"2"),
            (types.GET_STATUS, handle),
            (types.GET_STATUS_UNIQUE, unique),
            (types.ECHO_REQ, workload),
            (WORK_FAILURE, handle, chance.choice([b"fail", b"retry", b"reject", b"?"]), b"10", b"", b"why", b"trace"),
            (GET_RESULT, handle, b"0"),
            (CAN_DO_MANY, name, b"3", b"5"),
            (GRAB_JOBS, b"3"),
            (GRAB_JOBS, b"3"),
            (JOBS_COMPLETE, handle, b"H:x:%d" % chance.randrange(1, 20)),
            *[(SUBMIT_JOBS, name, b"5", b"2", encode_workloads([workload, b""]))] * 2,
            (SUBMIT_JOBS, name, b"9", b"3", encode_workloads([workload, b""])),
            (chance.randrange(0, 60), name),
        ]
        return chance.choice(choices)


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    print(CHOICE.describe(), file=sys.stderr)
    for seed in range(first, first + count):
        print(seed, History(seed).run(), flush=True)
