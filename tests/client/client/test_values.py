"""Values other than bytes through a real job server: JSON, codecs, namespaces; and the servers of the environment."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import assert_type

import pytest

from gearman_client import ArgumentError, Client, GzipCodec, JsonCodec, ResultNotDecoded, WorkerJob
from gearman_client.client.batch import PORTION_BYTES

from ...gearmand import Gearmand
from ..conftest import RunningWorker, ScriptedServer


def answer_in_json(job: WorkerJob) -> bytes:
    return b'{"got":' + job.workload + b"}"


def test_json_goes_to_the_worker_and_comes_back_as_a_value(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    seen: list[bytes] = []
    start_worker(
        gearmand.address, {"j": answer_in_json, "none": lambda job: None, "keep": lambda job: seen.append(job.workload)}
    )
    with Client(gearmand.address, timeout_s=20) as client:
        assert client.submit("j", json={"a": [1, "ä"]}) == {"got": {"a": [1, "ä"]}}
        assert client.submit("none", json=None) is None
        assert client.submit("j", b"1") == b'{"got":1}'
        client.submit_background("keep", json=[1], priority="high")
        client.submit("keep", "last", priority="low")
    assert seen == [b"[1]", b"last"]


def test_a_result_that_is_not_json_is_kept_in_the_error_and_the_connection_goes_on(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    start_worker(gearmand.address, {"upper": lambda job: job.workload.upper()})
    with Client(gearmand.address, timeout_s=20) as client:
        with pytest.raises(ResultNotDecoded, match="submit the job with a workload of bytes") as raised:
            client.submit("upper", json={"true": True})
        assert raised.value.data == b'{"TRUE":TRUE}'
        assert client.submit("upper", "abc") == b"ABC"


def test_a_codec_of_the_client_makes_all_workloads_and_results(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    seen: list[bytes] = []

    def unpack(job: WorkerJob) -> bytes:
        seen.append(job.workload)
        return gzip.compress(b'{"big": true}')

    start_worker(gearmand.address, {"f": unpack})
    with Client(gearmand.address, codec=GzipCodec(JsonCodec(), above_bytes=50), timeout_s=20) as client:
        assert client.submit("f", ["x" * 100]) == {"big": True}
        client.submit_background("f", {"small": 1})
        client.submit_background_many("f", [1, [2]])
        client.submit("f", "last", priority="low")
    assert gzip.decompress(seen[0]) == b'["' + b"x" * 100 + b'"]'
    assert seen[1:] == [b'{"small":1}', b"1", b"[2]", b'"last"']


class CountingCodec(JsonCodec):
    """Counts what it encodes."""

    def __init__(self) -> None:
        self.count = 0

    def encode(self, value: object, /) -> bytes:
        self.count += 1
        return super().encode(value)


def test_each_of_many_workloads_is_encoded_once_whatever_their_size(gearmand: Gearmand) -> None:
    codec = CountingCodec()
    with Client(gearmand.address, codec=codec, timeout_s=20) as client:
        workloads = ["x" * PORTION_BYTES, "y", "z" * (PORTION_BYTES - 10), "w" * 100]
        assert len(client.submit_background_many("f", workloads)) == len(workloads)
    assert codec.count == len(workloads)


def test_type_checkers_know_what_a_client_takes_and_returns() -> None:
    client = Client("127.0.0.1")
    assert_type(client, "Client[bytes | str, bytes]")

    def never_called() -> None:
        assert_type(client.submit("f", b""), bytes)
        assert_type(Client("127.0.0.1", codec=Squares()).submit("f", 2), str)

    assert callable(never_called)


class Squares:
    def encode(self, value: int, /) -> bytes:
        return b"%d" % value**2

    def decode(self, data: bytes, /) -> str:
        return data.decode()


def test_a_namespace_keeps_functions_apart(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> None:
    start_worker(gearmand.address, {"shop.f": lambda job: b"shop", "f": lambda job: b"plain"})
    with (
        Client(gearmand.address, namespace="shop.", timeout_s=20) as shop,
        Client(gearmand.address, timeout_s=20) as plain,
    ):
        assert (shop.submit("f", b""), plain.submit("f", b"")) == (b"shop", b"plain")


def test_a_workload_above_the_limit_is_refused_before_it_is_sent(scripted_server: ScriptedServer) -> None:
    with Client(scripted_server.address, max_workload_bytes=10) as client:
        with pytest.raises(ArgumentError, match="the workload for f has 11 bytes"):
            client.submit("f", b"x" * 11)
        with pytest.raises(ArgumentError, match="has 13 bytes"):
            client.submit("f", json="x" * 11)


def test_equal_workloads_with_a_dash_for_their_key_are_one_job(
    gearmand: Gearmand, start_worker: Callable[..., RunningWorker]
) -> None:
    seen: list[bytes] = []
    with Client(gearmand.address, timeout_s=20) as client:
        handles = [client.submit_background("f", workload, unique="-") for workload in ("a", "a", "b")]
        assert (handles[0] == handles[1], handles[0] == handles[2]) == (True, False)
        start_worker(gearmand.address, {"f": lambda job: seen.append(job.workload)})
        client.submit("f", "end", priority="low")
    assert seen == [b"a", b"b", b"end"]


def test_reduce_jobs_are_accepted_and_run(gearmand: Gearmand, start_worker: Callable[..., RunningWorker]) -> None:
    start_worker(gearmand.address, {"f": lambda job: job.workload + b"!"})
    with Client(gearmand.address, timeout_s=20) as client:
        assert client.submit("f", "text", reducer="join") == b"text!"
        assert client.submit_background("f", "text", reducer="join").startswith("H:")


def test_without_servers_the_environment_names_them(gearmand: Gearmand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEARMAN_SERVERS", f"127.0.0.1:1,{gearmand.address}")
    with Client() as client:
        assert client.ping() == (gearmand.address,)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"namespace": 7}, "the namespace 7 is int: expected text"),
        ({"max_workload_bytes": 0}, "max_workload_bytes 0: expected a whole number from 1"),
        ({"codec": "json"}, r"codec 'json': expected an object with the methods encode and decode, as JsonCodec\(\)"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options: dict[str, object], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        Client("127.0.0.1", **options)  # type: ignore[call-overload]


def test_a_misspelt_option_is_refused_with_those_that_exist() -> None:
    with pytest.raises(
        TypeError, match=r"Client\(\).*'name_space' \(did you mean namespace\?\); it takes servers, codec"
    ):
        Client("127.0.0.1", name_space="a")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"submit_background\(\).*'prio'"):
        Client("127.0.0.1").submit_background("f", b"", prio="high")  # type: ignore[call-arg]
