"""The packets of submissions: what each argument becomes on the wire, and the arguments that are refused."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest

from gearman_client import Address, ArgumentError, JsonCodec, NotSupported
from gearman_client.client.submission import UNSET, Forms, SubmissionSettings, when
from gearman_client.extensions import SUBMIT_JOB_WITH
from gearman_client.packet import HEADER_BYTES, REQUEST_MAGIC, PacketParser, PacketType

T = PacketType
PLAIN = SubmissionSettings()


def sent(packet: bytes) -> tuple[int, list[bytes]]:
    """The type of a whole packet and the texts between its zero bytes."""
    ((packet_type, body),) = PacketParser(REQUEST_MAGIC).feed(packet)
    assert len(packet) == HEADER_BYTES + len(body)
    return packet_type, body.split(b"\0")


FormT = TypeVar("FormT")


def chosen(forms: Forms[FormT]) -> FormT:
    """The form for a server that takes options, which all submissions here go to."""
    return forms.chosen(True, Address("a"))


def foreground(settings: SubmissionSettings = PLAIN, workload: Any = b"w", **options: Any) -> tuple[int, list[bytes]]:
    return sent(chosen(settings.foreground("f", workload, UNSET, options).forms))  # type: ignore[arg-type]


def background(run_at: int | None = None, **options: Any) -> tuple[int, list[bytes]]:
    return sent(chosen(PLAIN.background("f", b"w", UNSET, options, run_at).forms))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("priority", "in_foreground", "in_background"),
    [
        ("high", T.SUBMIT_JOB_HIGH, T.SUBMIT_JOB_HIGH_BG),
        ("normal", T.SUBMIT_JOB, T.SUBMIT_JOB_BG),
        ("low", T.SUBMIT_JOB_LOW, T.SUBMIT_JOB_LOW_BG),
    ],
)
def test_each_priority_has_its_packet(priority: str, in_foreground: int, in_background: int) -> None:
    assert foreground(priority=priority) == (in_foreground, [b"f", b"", b"w"])
    assert background(priority=priority, unique="u") == (in_background, [b"f", b"u", b"w"])


def test_a_time_and_a_reducer_have_packets_of_their_own() -> None:
    assert background(1700000000, unique="u") == (T.SUBMIT_JOB_EPOCH, [b"f", b"u", b"1700000000", b"w"])
    assert foreground(reducer="r") == (T.SUBMIT_REDUCE_JOB, [b"f", b"", b"r", b"", b"w"])
    assert background(reducer="r", unique="u") == (T.SUBMIT_REDUCE_JOB_BACKGROUND, [b"f", b"u", b"r", b"", b"w"])


def test_equal_keys_choose_the_server_and_a_dash_makes_the_workload_the_key() -> None:
    def server_key(**options: Any) -> bytes:
        return PLAIN.foreground("f", b"w", UNSET, options).server_key  # type: ignore[arg-type]

    assert (server_key(), server_key(unique=""), server_key(unique="u")) == (b"", b"", b"u")
    assert server_key(unique="-") == b"w"
    assert foreground(unique="-") == (T.SUBMIT_JOB, [b"f", b"-", b"w"])


def test_the_packets_of_many_workloads_have_the_lengths_of_these() -> None:
    encode = chosen(SubmissionSettings().encoder("f", {}, background=True))
    for workload in (b"", b"ab", b"cd", "\u00e9", b"", b"a" * 1000, "ef"):
        body = workload.encode() if isinstance(workload, str) else workload
        assert sent(encode(workload)) == (T.SUBMIT_JOB_BG, [b"f", b"", body])


def test_the_namespace_stands_before_the_names_of_functions() -> None:
    settings = SubmissionSettings(namespace="shop.")
    assert foreground(settings, reducer="r") == (T.SUBMIT_REDUCE_JOB, [b"shop.f", b"", b"shop.r", b"", b"w"])
    assert sent(chosen(settings.encoder("f", {}, background=True))("w")) == (T.SUBMIT_JOB_BG, [b"shop.f", b"", b"w"])


def test_json_is_compact_and_goes_past_the_codec() -> None:
    submission = PLAIN.foreground("f", UNSET, {"ä": [1, None]}, {})
    assert sent(chosen(submission.forms)) == (T.SUBMIT_JOB, [b"f", b"", '{"ä":[1,null]}'.encode()])
    assert submission.codec.decode(b'{"a": 1}') == {"a": 1}
    assert sent(chosen(PLAIN.foreground("f", UNSET, None, {}).forms))[1][-1] == b"null"


def test_the_codec_makes_the_workloads() -> None:
    settings = SubmissionSettings(codec=JsonCodec())
    assert foreground(settings, [1, 2])[1][-1] == b"[1,2]"
    assert foreground(settings, "text")[1][-1] == b'"text"'
    assert [sent(packet)[1][-1] for packet in map(chosen(settings.encoder("f", {}, background=False)), [1, "a"])] == [
        b"1",
        b'"a"',
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"priority": "urgent"}, "priority 'urgent': expected high, normal or low"),
        ({"priority": ["high"]}, "priority .* expected high, normal or low"),
        ({"priority": 10}, "priority 10: expected high, normal or low, or a whole number from 0 to 9"),
        ({"unique": 7}, "the unique id 7 is int: expected text"),
        ({"unique": "a\0b"}, "holds a zero byte"),
        ({"reducer": ""}, "a function name must not be empty"),
    ],
)
def test_arguments_that_cannot_be_sent_are_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        foreground(**options)


def test_what_no_plain_packet_can_carry_needs_a_server_with_options() -> None:
    cases: list[tuple[Any, str]] = [
        ({"priority": "high", "at": 1700000000}, "at"),
        ({"reducer": "r", "delay": 1}, "delay"),
        ({"reducer": "r", "priority": 1}, "reducer with a priority"),
        ({"tags": ["a"], "key": "k"}, "tags, key"),
    ]
    for options, told in cases:
        forms = PLAIN.background("f", b"", UNSET, options, 1).forms
        with pytest.raises(NotSupported, match=f"^a:4730 takes no {told} for a job, which was not sent"):
            forms.chosen(False, Address("a"))
    assert when({"delay": 1.5}, 10.0) == 12
    assert when({"delay": "2m"}, 10.0) == 130
    assert when({}, 10.0) is None


def test_a_server_without_options_gets_the_plain_packet_that_does_nearly_the_same() -> None:
    cases: list[tuple[Any, int]] = [({"delay": "1500ms"}, T.SUBMIT_JOB_EPOCH), ({"priority": 9}, T.SUBMIT_JOB_HIGH_BG)]
    for options, packet_type in cases:
        forms = PLAIN.background("f", b"w", UNSET, options, when(options, 10.0)).forms
        assert sent(forms.chosen(False, Address("a")))[0] == packet_type
        assert sent(forms.chosen(True, Address("a")))[0] == SUBMIT_JOB_WITH
    # Nobody is asked for what every server does alike.
    plain: list[Any] = [{"at": 1700000000}, {"priority": "low"}, {"reducer": "r"}, {"unique": "u", "tags": None}]
    for options in plain:
        assert PLAIN.background("f", b"w", UNSET, options, when(options, 10.0)).forms.with_options is None


def test_exactly_one_of_workload_and_json_is_given() -> None:
    with pytest.raises(TypeError, match="a job needs a workload, or json="):
        PLAIN.foreground("f", UNSET, UNSET, {})
    with pytest.raises(TypeError, match="workload and json both"):
        PLAIN.foreground("f", b"", {}, {})


def test_a_workload_above_the_limit_is_refused_with_its_size_and_the_remedy() -> None:
    settings = SubmissionSettings(max_workload_bytes=3)
    assert foreground(settings, b"abc")[1][-1] == b"abc"
    for submit in (
        lambda: foreground(settings, b"abcd"),
        lambda: chosen(settings.encoder("f", {}, background=True))(b"abcd"),
    ):
        with pytest.raises(
            ArgumentError, match=r"the workload for f has 4 bytes, and the client's max_workload_bytes is 3"
        ):
            submit()
