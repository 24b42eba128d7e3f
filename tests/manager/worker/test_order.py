"""An order arrives at the worker unchanged, whatever it contains."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gearman_client.address import Address
from gearman_client.tls import Tls
from gearman_manager.worker.order import Order, OrderedFunction

texts = st.text(min_size=1, max_size=20)
counts = st.integers(min_value=0, max_value=2**53)
files = st.none() | texts
settings = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | counts | st.floats(allow_nan=False) | texts,
        lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
servers = st.builds(
    Address, texts, st.integers(1, 65535), st.none() | st.builds(Tls, files, certificate_file=files, key_file=files)
)
timeouts = st.none() | st.floats(0.001, 1e6)
functions = st.builds(OrderedFunction, texts, texts, texts, timeouts, settings)


def several(values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(values, max_size=4).map(tuple)


orders = st.builds(
    Order,
    name=texts,
    client_id=texts,
    slot=counts,
    servers=several(servers),
    functions=several(functions),
    max_jobs=st.none() | counts,
    max_memory_bytes=st.none() | counts,
    nice=st.integers(-20, 19),
    job_slots=several(counts),
    folders=several(texts),
    log_level=st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR"]),
)


@given(orders)
def test_an_order_survives_json(order: Order) -> None:
    received = Order.from_message(json.loads(json.dumps(order.to_message())))
    assert received == order
    # The comparison of two servers ignores `tls`.
    assert [server.tls for server in received.servers] == [server.tls for server in order.servers]


@given(orders)
def test_keys_that_the_channel_adds_to_a_message_are_ignored(order: Order) -> None:
    assert Order.from_message({"type": "spawn", **order.to_message(), "fds": 1, "descriptors": [7]}) == order


@given(orders, functions)
def test_the_title_has_the_registered_names_of_the_functions(order: Order, function: OrderedFunction) -> None:
    named = (replace(function, registered="a"), replace(function, registered="b"))
    titled = replace(order, name="mail/3", functions=named).title
    assert titled == "gearman-manager: worker mail/3 a,b"
