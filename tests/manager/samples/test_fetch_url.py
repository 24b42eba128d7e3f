"""fetch_url against real web servers on 127.0.0.0/8, and with URLs that it must refuse."""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

MakeJob = Callable[..., Any]
Load = Callable[[str], ModuleType]
# One local network is allowed, so that a server in it can stand for a public one; the others stay forbidden.
ONE_NETWORK = ["127.0.0.1/32"]


@pytest.fixture
def module(load: Load) -> ModuleType:
    return load("fetch_url")


@pytest.fixture
def fetch(module: ModuleType, make_job: MakeJob) -> Callable[..., dict[str, Any]]:
    """Runs one job; returns the result for its client."""

    def run(url: Any, **settings: Any) -> dict[str, Any]:
        found = module.fetch_url(make_job({"url": url}, **settings))
        assert json.loads(json.dumps(found)) == found
        return dict(found)

    return run


def test_a_page_comes_with_its_status_and_content_type(fetch: Any, site: Any) -> None:
    site.page("/page", "Grüße".encode(), Content_Type="text/plain; charset=utf-8")
    assert fetch(site.url("/page"), allow_private=True) == {
        "url": site.url("/page"),
        "status": 200,
        "content_type": "text/plain; charset=utf-8",
        "encoding": "utf-8",
        "body": "Grüße",
    }


def test_a_body_that_is_no_text_is_returned_in_base64(fetch: Any, site: Any) -> None:
    site.page("/picture", b"\xff\xd8\x00\x01", Content_Type="image/jpeg")
    found = fetch(site.url("/picture"), allow_private=True)
    assert found["encoding"] == "base64"
    assert base64.b64decode(found["body"]) == b"\xff\xd8\x00\x01"


def test_an_error_page_is_a_result_too(fetch: Any, site: Any) -> None:
    assert fetch(site.url("/missing"), allow_private=True)["status"] == 404


def test_path_and_query_arrive_encoded(fetch: Any, site: Any) -> None:
    site.page("/caf%C3%A9%20au?lait=%41&x=y", b"ok")
    assert fetch(site.url("/café au?lait=%41&x=y#part"), allow_private=True)["body"] == "ok"


def test_the_host_header_names_the_host_of_the_url(fetch: Any, site: Any) -> None:
    site.page("/", b"ok")
    fetch(site.url("", host="localhost"), allow_private=["127.0.0.0/8", "::1/128"])
    assert site.requests[0][1]["Host"] == f"localhost:{site.port}"


def test_redirects_are_followed_and_the_last_url_is_returned(fetch: Any, site: Any) -> None:
    site.redirect("/a", "/b", 301)
    site.redirect("/b", site.url("/c"), 307)
    site.page("/c", b"here")
    found = fetch(site.url("/a"), allow_private=True)
    assert (found["url"], found["body"]) == (site.url("/c"), "here")


def test_redirects_in_a_circle_end(fetch: Any, site: Any, module: ModuleType) -> None:
    site.redirect("/a", "/a")
    with pytest.raises(module.FetchError, match="more than 3 redirects"):
        fetch(site.url("/a"), allow_private=True, max_redirects=3)
    assert len(site.requests) == 4


@pytest.mark.parametrize("target", ["http://127.0.0.2:{port}/secret", "http://[::ffff:127.0.0.2]:{port}/secret"])
def test_a_redirect_into_the_private_network_is_refused(
    fetch: Any, make_site: Any, module: ModuleType, target: str
) -> None:
    public, private = make_site("127.0.0.1"), make_site("127.0.0.2")
    private.page("/secret", b"secret")
    public.redirect("/", target.format(port=private.port))
    with pytest.raises(module.FetchError, match="private or reserved address"):
        fetch(public.url("/"), allow_private=ONE_NETWORK)
    assert len(public.requests) == 1
    assert private.requests == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1:25/_HELO", "http://[bad/"])
def test_a_redirect_to_a_url_other_than_http_is_refused(fetch: Any, site: Any, module: ModuleType, target: str) -> None:
    site.redirect("/", target)
    with pytest.raises(module.FetchError):
        fetch(site.url("/"), allow_private=True)


def test_a_name_whose_address_changes_is_connected_at_the_checked_address(
    fetch: Any, make_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmless, secret = make_site("127.0.0.1"), make_site("127.0.0.2")
    harmless.page("/", b"harmless")
    answers = iter([("127.0.0.1", harmless.port), ("127.0.0.2", secret.port)])

    # The name server gives another answer the second time. This attack is called DNS rebinding.
    def rebind(*_arguments: Any, **_options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", next(answers))]

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    assert fetch("http://rebinding.test/", allow_private=ONE_NETWORK)["body"] == "harmless"
    assert secret.requests == []


def test_a_host_with_one_private_address_among_public_ones_is_refused(
    fetch: Any, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mixed(*_arguments: Any, **_options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("203.0.113.1", "8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", mixed)
    with pytest.raises(module.FetchError, match="private or reserved"):
        fetch("http://mixed.test/", allow_private=["203.0.113.0/24"])


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f000001", "017700000001", "127.1", "0"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1"),
        *("0.0.0.0", "255.255.255.255", "192.0.0.9", "168.63.129.16"),
        *("[fe80::1]", "[fc00::1]", "[ff02::1]", "[64:ff9b:1::1]", "[2001:db8::1]", "[2001:0:7f00:1::]"),
        *("①②⑦.0.0.1", "ⓛocalhost"),
    ],
)
def test_addresses_that_are_not_public_are_refused_however_they_are_written(
    fetch: Any, module: ModuleType, site: Any, host: str
) -> None:
    with pytest.raises(module.FetchError, match="private or reserved address"):
        fetch(site.url("/", host=host))
    assert site.requests == []


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_pass(load: Load, address: str) -> None:
    assert load("_public_addresses").is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("gopher://example.com/", "only http and https are fetched, not gopher"),
        ("file:///etc/passwd", "only http and https are fetched, not file"),
        ("ftp://example.com/", "only http and https"),
        ("example.com", "not a URL without a scheme"),
        ("", "not a URL without a scheme"),
        ("http://", "names no host"),
        ("http:///path", "names no host"),
        ("http://user:secret@127.0.0.1/", "user name or password"),
        ("http://example.com@127.0.0.1/", "user name or password"),
        ("http://127.0.0.1\\@example.com/", "user name or password"),
        ("http://127.0.0.1:0/", "port 0"),
        ("http://127.0.0.1:99999/", "Port out of range"),
        ("http://127.0.0.1:http/", "Port could not be cast"),
        ("http://[::1/", "Invalid IPv6 URL"),
        ("http://127.0.0.1/\r\nX-Header: injected", "control characters"),
        ("http://127.0.0.1/\x00", "control characters"),
        ("http://a" + "b" * 8000, "8000 characters"),
        ("http://" + "a" * 300 + ".com/", "can't hold|can't be resolved"),
        ("http://127.0.0.1/\ud800", "can't hold"),
    ],
)
def test_an_unusable_url_is_refused_with_the_reason(fetch: Any, module: ModuleType, url: str, reason: str) -> None:
    with pytest.raises(module.FetchError, match=reason) as caught:
        fetch(url, allow_private=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workload", [{}, [], "http://127.0.0.1/", {"url": 7}, {"url": None}, None])
def test_a_workload_without_a_url_gets_an_example_of_one(module: ModuleType, make_job: MakeJob, workload: Any) -> None:
    with pytest.raises(module.FetchError, match="the workload must be JSON such as"):
        module.fetch_url(make_job(workload))


def dripping(site: Any, first: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """A byte every 20 ms for ten seconds: no single read waits long."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(first)
        for _ in range(500):
            if site.closing.wait(0.02):
                return
            handler.wfile.write(b"x")
            handler.wfile.flush()

    return reply


@pytest.mark.parametrize("first", [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_server_that_sends_slowly_is_cut_off_at_the_total_time(
    fetch: Any, make_site: Any, module: ModuleType, first: bytes, encrypted: bool, request: pytest.FixtureRequest
) -> None:
    site = make_site(tls=request.getfixturevalue("server_tls") if encrypted else None)
    ca_file = str(request.getfixturevalue("certificate"))
    site.replies["/"] = dripping(site, first)
    started = time.monotonic()
    with pytest.raises(module.FetchError, match=r"no complete answer within the 0\.5 s"):
        fetch(site.url("/"), allow_private=True, total_timeout="500ms", ca_file=ca_file)
    assert time.monotonic() - started < 5


def test_all_redirects_together_have_the_total_time(fetch: Any, site: Any, module: ModuleType) -> None:
    def slow_redirect(handler: BaseHTTPRequestHandler) -> None:
        site.closing.wait(0.2)
        handler.send_response(302)
        handler.send_header("Location", "/")
        handler.end_headers()

    site.replies["/"] = slow_redirect
    with pytest.raises(module.FetchError, match=r"no complete answer within the 0\.5 s"):
        fetch(site.url("/"), allow_private=True, total_timeout=0.5, max_redirects=50)
    assert len(site.requests) <= 3


def test_a_server_that_accepts_and_never_answers_is_given_up(fetch: Any, module: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for scheme in ("http", "https"):
            with pytest.raises(module.FetchError, match=r"no complete answer within the 0\.2 s"):
                fetch(f"{scheme}://127.0.0.1:{port}/", allow_private=True, total_timeout="200ms")


def test_a_body_of_exactly_the_limit_is_fetched(fetch: Any, site: Any) -> None:
    site.page("/", b"x" * 1000)
    assert fetch(site.url("/"), allow_private=True, max_size=1000)["body"] == "x" * 1000


def test_a_body_that_is_too_large_is_cut_off_wherever_it_would_end(fetch: Any, site: Any, module: ModuleType) -> None:
    written = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal written
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while written < 200_000_000 and not site.closing.is_set():
            written += handler.wfile.write(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")

    site.replies["/"] = endless
    with pytest.raises(module.FetchError, match="larger than the 100000 bytes that max_size allows"):
        fetch(site.url("/"), allow_private=True, max_size="100KB")
    # The server may have filled the sockets' buffers, but it did not go on.
    assert written < 50_000_000


def test_the_body_of_a_redirect_is_not_read(fetch: Any, site: Any) -> None:
    site.page("/", b"x" * 5000, 302, Location="/next")
    site.page("/next", b"ok")
    assert fetch(site.url("/"), allow_private=True, max_size=1000)["body"] == "ok"


def test_a_body_that_ends_early_is_an_error(fetch: Any, site: Any, module: ModuleType) -> None:
    def short(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        handler.close_connection = True

    site.replies["/"] = short
    with pytest.raises(module.FetchError, match="91 bytes early"):
        fetch(site.url("/"), allow_private=True)


def test_an_answer_that_is_not_http_is_an_error(fetch: Any, site: Any, module: ModuleType) -> None:
    site.replies["/"] = lambda handler: handler.wfile.write(b"220 mail.test ESMTP\r\n")
    with pytest.raises(module.FetchError, match="not valid HTTP"):
        fetch(site.url("/"), allow_private=True)


def test_the_error_for_a_closed_port_names_the_url(fetch: Any, module: ModuleType) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(module.FetchError, match=f"127.0.0.1:{port}/': Connection refused"):
            fetch(f"http://127.0.0.1:{port}/", allow_private=True)


def test_https_is_fetched_with_the_certificate_checked(
    fetch: Any, make_site: Any, certificate: Path, server_tls: ssl.SSLContext
) -> None:
    site = make_site(tls=server_tls)
    site.page("/", b"encrypted")
    assert fetch(site.url("/"), allow_private=True, ca_file=str(certificate))["body"] == "encrypted"


def test_https_with_an_untrusted_certificate_is_refused(
    fetch: Any, make_site: Any, module: ModuleType, server_tls: ssl.SSLContext
) -> None:
    site = make_site(tls=server_tls)
    with pytest.raises(module.FetchError, match="certificate is not accepted: self-signed certificate"):
        fetch(site.url("/"), allow_private=True)
    assert site.requests == []


def test_https_with_a_certificate_for_another_host_is_refused(
    fetch: Any, make_site: Any, module: ModuleType, certificate: Path, server_tls: ssl.SSLContext
) -> None:
    site = make_site("127.0.0.3", tls=server_tls)
    with pytest.raises(module.FetchError, match="certificate is not accepted"):
        fetch(site.url("/"), allow_private=True, ca_file=str(certificate))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"total_timeout": "never"}, "total_timeout"),
        ({"max_size": -1}, "max_size"),
        ({"max_redirects": 51}, "max_redirects"),
        ({"allow_private": "yes please"}, "allow_private"),
        ({"allow_private": ["10.0.0.1/8"]}, "allow_private"),
        ({"allow_private": None}, "allow_private"),
    ],
)
def test_a_wrong_setting_is_named(fetch: Any, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fetch("http://127.0.0.1/", **settings)


def test_a_missing_certificate_file_is_named(fetch: Any, module: ModuleType) -> None:
    with pytest.raises(module.FetchError, match="certificates /no/such/file can't be used"):
        fetch("https://127.0.0.1/", allow_private=True, ca_file="/no/such/file")
