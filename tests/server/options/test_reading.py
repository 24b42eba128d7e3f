"""Options as they are read from pairs."""

from __future__ import annotations

import pytest

from gearman_client.job_pairs import OPTION_NAMES, cut_pairs, encode_pairs
from gearman_server.errors import RefusedError
from gearman_server.jobs.function import Function
from gearman_server.jobs.job import NORMAL, Job, extras_of
from gearman_server.jobs.policies import FunctionPolicy
from gearman_server.options import reading
from gearman_server.options.job_options import NO_OPTIONS
from gearman_server.options.reading import OptionsReader, read_options


def _read(*pairs: tuple[bytes, bytes]) -> bytes:
    body, workload = cut_pairs(encode_pairs(pairs) + b"\0work\0\0load")
    assert workload == b"\0work\0\0load"
    return body


def test_no_pairs_are_no_options() -> None:
    assert _read() == b""
    assert read_options(b"") is NO_OPTIONS


def test_each_option_has_its_field() -> None:
    options = read_options(
        _read(
            (b"background", b"1"),
            (b"priority", b"8"),
            (b"reducer", b"sum"),
            (b"retries", b"3"),
            (b"backoff", b"1500"),
            (b"max_backoff", b"60000"),
            (b"timeout", b"250"),
            (b"keep_result", b"0"),
            (b"delay", b"90"),
            (b"expires_in", b"1000"),
            (b"expired_letter", b"1"),
            (b"tag", b"mail"),
            (b"tag", b"weekly"),
            (b"tag", b"mail"),
            (b"key", b"example.org"),
            (b"header:traceparent", b"00-ab=cd"),
            (b"header:lang", b"de"),
        )
    )
    assert (options.is_background, options.queue, options.reducer) == (True, 0, b"sum")
    assert (options.delay_s, options.at, options.expires_in_s, options.expires_at) == (0.09, None, 1.0, None)
    job = options.job
    assert job is not None
    assert (job.retries, job.backoff_s, job.max_backoff_s, job.timeout_s, job.keep_result_s) == (3, 1.5, 60, 0.25, 0)
    assert (job.tags, options.key, job.leaves_letter) == ((b"mail", b"weekly"), b"example.org", True)
    assert options.own == b"key=example.org\0header:traceparent=00-ab=cd\0header:lang=de"
    assert options.names == {
        *("priority", "retries", "backoff", "max_backoff", "timeout", "keep_result", "delay", "expires", "tags", "key"),
        "headers",
    }


def test_the_names_that_policies_can_allow_are_those_that_are_read() -> None:
    kinds = [*reading._REQUEST_KEYS.values(), *reading._JOB_KEYS.values()]
    own = {field for field, _ in reading._OWN_KEYS.values()}
    assert sorted({kind.name for kind in kinds if kind.name} | own | {"tags", "headers", "then"}) == list(OPTION_NAMES)


def test_what_is_stored_reads_the_same_again() -> None:
    options = read_options(_read((b"background", b"1"), (b"tag", b"a"), (b"timeout", b"5"), (b"header:x", b"y")))
    job = Job(b"H:1", Function(b"f", FunctionPolicy()), b"", b"", NORMAL, 0.0)
    job.extras = extras_of(options)
    read = read_options(job.kept_pairs)
    assert (read.job, read.own) == (options.job, options.own)
    assert job.told_pairs == b"tag=a\0timeout=5\0header:x=y"


@pytest.mark.parametrize(("priority", "queue"), [(b"0", 2), (b"3", 2), (b"4", 1), (b"6", 1), (b"7", 0), (b"9", 0)])
def test_priorities_are_mapped_on_three_queues(priority: bytes, queue: int) -> None:
    assert read_options(b"priority=" + priority).queue == queue


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (b"colour=red", "unknown option colour. Known: at, background, "),
        (b"retries=-1", "retries: a whole number from 0 to 1000000000 is expected, not '-1'"),
        (b"retries=1000000001", "retries: a whole number"),
        (b"retries=1\0retries=2", "retries: it is given twice"),
        (b"timeout=5s", "timeout: whole milliseconds from 0 to 315360000000 are expected, not '5s'"),
        (b"priority=10", "priority: a whole number from 0 to 9 is expected, not '10'"),
        (b"background=yes", "background: 0 or 1 is expected, not 'yes'"),
        (b"tag=", "tag: a text of 1 to 64 bytes is expected, not ''"),
        (b"tag=" + b"t" * 65, "tag: a text of 1 to 64 bytes"),
        (b"\0".join(b"tag=%d" % n for n in range(17)), "tag: at most 16 are allowed, not '16'"),
        (b"key=" + b"k" * 257, "key: a text of 1 to 256 bytes"),
        (b"header:=x", "header:: each header has a name of its own"),
        (b"header:a=1\0header:a=2", "header:a: each header has a name of its own"),
        (b"header:a=" + b"x" * 8192, "header:a: at most 32 headers of 8192 bytes together"),
        (b"backoff=2\0max_backoff=1", "max_backoff: it is less than backoff, raise it"),
        (b"at=1\0delay=1", "delay: it excludes at, give one of them"),
        (b"expires=1\0expires_in=1", "expires_in: it excludes expires"),
        (b"retries", "'retries' is no pair key=value"),
        (b"=x", "'=x' is no pair key=value"),
        (b"header:a=" + b"x" * 70_000, "the options take 70009 bytes; at most 65536 are allowed"),
        (b"retries=\xff", "not '\\\\xff'"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(pairs: bytes, message: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read_options(pairs)
    assert refused.value.code == b"INVALID_OPTION"
    assert message in str(refused.value)


def test_equal_pairs_share_what_was_read_and_the_memory_for_it_is_bounded() -> None:
    reader = OptionsReader()
    assert reader.read(b"tag=a") is reader.read(b"tag=a")
    for number in range(5000):
        reader.read(b"tag=%d" % number)
    assert len(reader._known) <= 1024
    long = b"key=" + b"k" * 200 + b"\0header:a=" + b"x" * 400
    assert reader.read(long) == reader.read(long)
    assert long not in reader._known
