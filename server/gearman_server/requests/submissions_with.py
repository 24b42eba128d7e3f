"""SUBMIT_JOB_WITH, our extension: a submission with options of its own. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from gearman_client.extensions import INVALID_OPTION, SUBMIT_JOB_WITH
from gearman_client.job_pairs import MAX_KEY_BYTES, cut_pairs
from gearman_server.errors import MalformedPacketError, RefusedError
from gearman_server.jobs.batch_rows import BatchState
from gearman_server.jobs.job import OptionsAlone, coalescing_key, extras_of
from gearman_server.options.reading import KNOWN_BYTES, MAX_KNOWN, OptionsReader
from gearman_server.same_job.replacing import Replacing

if TYPE_CHECKING:
    from gearman_server.ending.expiry import Expiry
    from gearman_server.jobs.agenda import Agenda
    from gearman_server.jobs.job import Extras, Job
    from gearman_server.jobs.session import Session
    from gearman_server.options.job_options import JobOptions, SubmissionOptions
    from gearman_server.requests.submissions import Handler, Submissions, Submit
    from gearman_server.same_job.known_keys import KnownKeys
    from gearman_server.sequels.job_batch import JobBatch
    from gearman_server.sequels.job_batches import JobBatches

    #: How a job is submitted, what it is given, and the batch to which it is added.
    _How = tuple[Submit, Extras | None, JobBatch | None]

#: Options that make sense only with a unique key, and the keys that are none of the job's own.
_OF_UNIQUE: Final = frozenset({"unique_for", "unique_until", "replace"})
_NO_KEYS: Final = (b"", b"-")
#: Options that have to be looked at again in each submission to a batch.
_NOT_KNOWN: Final = _OF_UNIQUE | {"then"}
_OPEN: Final = BatchState.OPEN
_KEY: Final = b"key"
_EXPECTED: Final = "SUBMIT_JOB_WITH takes function, unique, pairs that end with an empty one, and workload"

Known = TypeVar("Known")


class SubmissionsWith:
    """Handler of SUBMIT_JOB_WITH."""

    def __init__(
        self, submissions: Submissions, batches: JobBatches, expiry: Expiry, keys: KnownKeys, agenda: Agenda
    ) -> None:
        self._submissions = submissions
        self._background, self._foreground = submissions.background, submissions.foreground
        self._functions = submissions.functions
        self._replacing = Replacing(submissions.life, submissions.durability)
        self._allowance = submissions.allowance
        self._batches = batches
        self._keys = keys
        self._expiry = expiry
        self._unix_time = agenda.unix_time
        self._reader = OptionsReader()
        #: By pairs: how such a job is submitted, what it is given, and the batch to which it is added.
        self._simple: dict[bytes, _How] = {}
        #: The same by the pairs in front of one that is the job's own.
        self._based: dict[bytes, tuple[Submit, JobOptions | None, JobBatch | None]] = {}
        #: The keys of such a pair, and how long its value may be.
        self._own_keys: dict[bytes, int] = {}

    def handlers(self) -> dict[int, Handler]:
        """By packet type."""
        return {SUBMIT_JOB_WITH: self._submitter()}

    def _submitter(self) -> Handler:
        """Make the handler. Most options need nothing but to be given to the job, and the same ones come again and
        again, some with one behind them that is the job's own. They are looked up as a whole: to read a single one
        takes longer than all else."""
        find_function = self._functions.by_name.get
        add = self._batches.add
        find_simple, find_based, own_bytes = self._simple.get, self._based.get, self._own_keys.get

        def submit_with(session: Session, body: bytes, now: float) -> None:
            cut = body.split(b"\0\0", 2)
            name, unique = cut[0], b""
            function = find_function(name)
            if function is not None and len(cut) == 3:
                _, pairs, workload = cut
            else:
                name, unique, pairs, workload = _cut_with_unique(body, name)
                function = find_function(name)
            if function is not None and function.policy.allow_options is None:
                simple = find_simple(pairs)
                if simple is not None:
                    submit, extras, batch = simple
                else:
                    shared, _, own = pairs.rpartition(b"\0")
                    based = find_based(shared)
                    key, _, value = own.partition(b"=")
                    if based is None or not 0 < len(value) <= own_bytes(key, 0):
                        self._submit_with_care(session, body, now)
                        return
                    extras = OptionsAlone()
                    submit, extras.options, batch = based
                    extras.own, extras.order, extras.counted_in = own, None, None
                if batch is None:
                    submit(session, body, now, None, extras, (name, unique, workload))
                    return
                if batch.state is _OPEN and not unique:  # so the job is a new one
                    submit(session, body, now, None, extras, (name, unique, workload))
                    add(batch)
                    return
            self._submit_with_care(session, body, now)

        return submit_with

    def _submit_with_care(self, session: Session, body: bytes, now: float) -> None:
        try:
            name, unique, rest = body.split(b"\0", 2)
            pairs, workload = cut_pairs(rest)
        except ValueError:
            raise MalformedPacketError(_EXPECTED) from None
        parts = name, unique, workload
        options = self._reader.read(pairs)
        self._allowance.check(name, options.names, pairs)
        submit = (self._background if options.is_background else self._foreground)[options.queue]
        extras = extras_of(options)
        if options.is_simple:
            self._know(pairs, options, (submit, extras, None))
            submit(session, body, now, None, extras, parts)
            return
        unix_now = self._unix_time()
        run_at = options.at if options.delay_s is None else unix_now + options.delay_s
        expires_at = options.expires_at if options.expires_in_s is None else unix_now + options.expires_in_s
        if expires_at is not None and expires_at <= max(unix_now, run_at or 0.0):
            raise RefusedError(INVALID_OPTION, b"expires: that is over before the job can begin")
        if self._is_known(session, parts, run_at, options):
            return
        batch = self._checked_batch(options)
        known = self._known_by_key(*parts)
        job = submit(session, body, now, run_at, extras, parts)
        if job is not None and job is not known:
            self._complete(job, options, expires_at, now)
            if batch is not None:
                self._batches.add(batch)
                if options.are_alone and options.names.isdisjoint(_NOT_KNOWN):
                    self._know(pairs, options, (submit, extras, batch))
        elif options.submission:
            self._note_joined(name, unique, options.submission, job)

    def _known_by_key(self, name: bytes, unique: bytes, workload: bytes) -> Job | None:
        """The job that such a submission joins."""
        function, key = self._functions.by_name.get(name), coalescing_key(unique, workload)
        return None if function is None or key is None else self._submissions.table.find_by_key(function, key)

    def _know(self, pairs: bytes, options: SubmissionOptions, how: _How) -> None:
        """Have further submissions looked up that have the same options, but for the value of one of its own."""
        if not pairs or len(pairs) > KNOWN_BYTES:
            return
        if not options.own:
            _put(self._simple, pairs, how)
            return
        shared, _, own = pairs.rpartition(b"\0")
        if shared and own == options.own:  # else it has several of its own, or they are in front of others
            key, _, _ = own.partition(b"=")
            _put(self._own_keys, key, MAX_KEY_BYTES if key == _KEY else KNOWN_BYTES)
            _put(self._based, shared, (how[0], options.job, how[2]))

    def _complete(self, job: Job, options: SubmissionOptions, expires_at: float | None, now: float) -> None:
        """Do for a new job what its options need beside being given to it."""
        if expires_at is not None:
            self._expiry.start(job, expires_at, now)
        if options.submission:
            self._keys.note_submission(job)
            self._keys.await_row(job)

    def _note_joined(self, name: bytes, unique: bytes, submission: bytes, job: Job | None) -> None:
        """A submission with an id is this earlier job, or (None) one that has ended and still has its unique key."""
        handle = self._submissions.table.outlived.get((name, unique)) if job is None else job.handle
        if handle is not None:
            self._keys.note_joined(name, submission, handle)

    def _is_known(
        self, session: Session, parts: tuple[bytes, bytes, bytes], run_at: float | None, options: SubmissionOptions
    ) -> bool:
        """Answer a submission that was sent before, or whose workload takes the place of a waiting job's."""
        name, unique, workload = parts
        if options.names & _OF_UNIQUE and unique in _NO_KEYS:
            text = f"{min(options.names & _OF_UNIQUE)}: it needs a unique key of the job's own"
            raise RefusedError(INVALID_OPTION, text.encode())
        if options.submission:
            handle = self._keys.handle_of_submission(name, options.submission)
            if handle is not None:
                self._submissions.answer_known(session, handle, is_background=options.is_background)
                return True
        if options.replaces and options.is_background:
            function = self._functions.by_name.get(name)
            job = None if function is None else self._submissions.table.find_by_key(function, unique)
            if job is not None and job.is_waiting and job.is_background:
                self._replacing.replace(session, job, workload, run_at)
                if options.submission:
                    self._keys.note_joined(name, options.submission, job.handle)
                return True
        return False

    def _checked_batch(self, options: SubmissionOptions) -> JobBatch | None:
        """The batch to which the job is to be added; refuses it, and what can't follow the job."""
        followed = options.job
        if followed is None or not followed.is_followed:
            return None
        if not options.is_background:
            raise RefusedError(INVALID_OPTION, b"batch, then, on_failure: only background jobs can have them")
        for link in followed.then:
            self._allowance.check_link(link)
        if followed.on_failure is not None:
            self._allowance.check_link(followed.on_failure)
        return self._batches.admit(followed.batch) if followed.batch else None


def _put(known: dict[bytes, Known], pairs: bytes, value: Known) -> None:
    """Note the value; their number is bounded."""
    if len(known) >= MAX_KNOWN:
        known.clear()
    known[pairs] = value


def _cut_with_unique(body: bytes, head: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Function, unique key, pairs and workload, if `head` is all in front of the pairs' end; else no pairs."""
    name, _, rest = head.partition(b"\0")
    unique, _, pairs = rest.partition(b"\0")
    workload = body[len(head) + 2 :]
    return name, unique, pairs if len(head) < len(body) else b"", workload
