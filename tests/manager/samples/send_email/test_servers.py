"""send_email and its server: TLS, login, connections that are kept and replaced, errors, wrong settings."""

from __future__ import annotations

import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import REQUEST, MakeJob


# The test server sees that TLS came first, but warns as if it had not.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_an_encrypted_conversation_with_login_delivers(
    make_mail_server: Any, make_sender: Any, make_job: MakeJob, certificate: Path, server_tls: Any, encryption: str
) -> None:
    tls = {
        "starttls": {"tls_context": server_tls, "require_starttls": True},
        "tls": {"tls": server_tls, "auth_require_tls": False},
    }
    server = make_mail_server(login=("shop", "pass word"), **tls[encryption])
    settings = {
        "smtp_tls": encryption,
        "smtp_ca_file": str(certificate),
        "smtp_user": "shop",
        "smtp_password": "pass word",
    }
    make_sender(server.port, smtp_host="localhost", **settings).run(make_job(REQUEST))
    assert len(server.mailbox.envelopes) == 1


def test_a_wrong_password_fails_without_showing_it(
    make_mail_server: Any, make_sender: Any, make_job: MakeJob, certificate: Path, server_tls: Any, error: Any
) -> None:
    server = make_mail_server(login=("shop", "right"), tls_context=server_tls)
    settings = {"smtp_tls": "starttls", "smtp_ca_file": str(certificate), "smtp_user": "shop", "smtp_password": "wr0ng"}
    sender = make_sender(server.port, **settings)
    with pytest.raises(error, match="the login was refused: 535") as caught:
        sender.run(make_job(REQUEST))
    assert "wr0ng" not in str(caught.value)
    assert "wr0ng" not in repr(sender.conversation._server)
    assert server.mailbox.envelopes == []


def test_an_untrusted_certificate_is_refused(
    make_mail_server: Any, make_sender: Any, make_job: MakeJob, server_tls: Any, error: type[Exception]
) -> None:
    server = make_mail_server(tls_context=server_tls)
    with pytest.raises(error, match="certificate is not accepted: self-signed"):
        make_sender(server.port, smtp_tls="starttls").run(make_job(REQUEST))
    assert server.mailbox.envelopes == []


def test_a_server_without_starttls_gets_nothing_unencrypted(
    server: Any, make_sender: Any, make_job: MakeJob, error: type[Exception]
) -> None:
    with pytest.raises(error, match="STARTTLS extension not supported"):
        make_sender(server.port, smtp_tls="starttls").run(make_job(REQUEST))
    assert server.mailbox.envelopes == []


def test_a_connection_is_kept_for_the_next_mail(server: Any, make_sender: Any, make_job: MakeJob) -> None:
    sender = make_sender(server.port)
    for _ in range(3):
        sender.run(make_job(REQUEST))
    assert len(server.mailbox.envelopes) == 3
    assert len(server.mailbox.connections) == 1


def test_a_connection_that_the_server_has_closed_is_replaced(server: Any, make_sender: Any, make_job: MakeJob) -> None:
    sender = make_sender(server.port)
    sender.run(make_job(REQUEST))
    server.hang_up()
    sender.run(make_job(REQUEST))
    assert len(server.mailbox.connections) == 2


def test_a_connection_on_which_the_server_refuses_further_mails_is_replaced(
    server: Any, make_sender: Any, make_job: MakeJob
) -> None:
    sender = make_sender(server.port)
    sender.run(make_job(REQUEST))
    server.mailbox.noop_reply = "421 too many messages"
    sender.run(make_job(REQUEST))
    assert len(server.mailbox.connections) == 2


def test_a_connection_is_replaced_after_fifty_mails(server: Any, make_sender: Any, make_job: MakeJob) -> None:
    sender = make_sender(server.port)
    for _ in range(51):
        sender.run(make_job(REQUEST))
    assert len(server.mailbox.envelopes) == 51
    assert len(server.mailbox.connections) == 2


def test_a_connection_that_was_silent_for_long_is_replaced(server: Any, make_sender: Any, make_job: MakeJob) -> None:
    sender = make_sender(server.port)
    sender.run(make_job(REQUEST))
    sender.conversation._used_at -= 31
    sender.run(make_job(REQUEST))
    assert len(server.mailbox.connections) == 2


def test_after_a_failure_the_next_mail_goes_over_a_new_connection(
    server: Any, make_sender: Any, make_job: MakeJob, error: type[Exception]
) -> None:
    sender = make_sender(server.port)
    sender.run(make_job(REQUEST))
    server.mailbox.data_reply = "451 try again later"
    with pytest.raises(error, match="451 try again later"):
        sender.run(make_job(REQUEST))
    server.mailbox.data_reply = "250 OK"
    sender.run(make_job(REQUEST))
    assert len(server.mailbox.connections) == 2


def test_the_error_for_an_unreachable_server_names_it(
    make_sender: Any, make_job: MakeJob, error: type[Exception]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(error, match=f"127.0.0.1:{port}: Connection refused"):
            make_sender(port).run(make_job(REQUEST))


def test_a_server_that_never_answers_is_given_up(make_sender: Any, make_job: MakeJob, error: type[Exception]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = make_sender(silent.getsockname()[1], smtp_timeout="200ms")
        with pytest.raises(error, match="timed out"):
            sender.run(make_job(REQUEST))


def test_an_address_outside_ascii_needs_a_server_that_supports_it(
    send: Any, make_mail_server: Any, make_sender: Any, make_job: MakeJob, error: type[Exception]
) -> None:
    with pytest.raises(error, match="SMTPUTF8"):
        send(to="zoë@example.com")
    modern = make_mail_server(enable_SMTPUTF8=True)
    make_sender(modern.port).run(make_job({**REQUEST, "to": "zoë@example.com"}))
    assert modern.mailbox.envelopes[0].rcpt_tos == ["zoë@example.com"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"smtp_tls": "ssl"}, "smtp_tls: none or starttls or tls is needed, not 'ssl'"),
        ({"smtp_port": 0}, "smtp_port"),
        ({"smtp_timeout": "soon"}, "smtp_timeout"),
        ({"smtp_from": "nobody"}, "smtp_from: 'nobody' is not an e-mail address"),
        ({"smtp_from": "a@example.org\n"}, "smtp_from: line breaks"),
        ({"smtp_user": "shop", "smtp_tls": "tls"}, "smtp_user and smtp_password: only one of them is set"),
        ({"smtp_user": "shop", "smtp_password": "x"}, "no password is sent unencrypted"),
        ({"smtp_tls": "tls", "smtp_ca_file": "/no/such/file"}, "certificates /no/such/file can't be used"),
    ],
)
def test_wrong_settings_are_found_before_the_first_job(
    module: ModuleType, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Exception, match=reason):
        module.SendEmail().setup(settings)
