"""send_email against real SMTP servers: plain, STARTTLS, TLS, with login, and servers that refuse."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

MakeJob = Callable[..., Any]
Load = Callable[[str], ModuleType]
REQUEST = {"to": "rasmus@example.com", "subject": "Hello", "body": "How are you?", "from": "me@example.org"}


@pytest.fixture
def module(load: Load) -> ModuleType:
    return load("send_email")


@pytest.fixture
def error(module: ModuleType) -> type[Exception]:
    return module.build.__globals__["EmailError"]  # type: ignore[no-any-return]


@pytest.fixture
def make_sender(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """A worker's object, set up with settings as the manager does it."""
    senders: list[Any] = []

    def make(port: int, **settings: Any) -> Any:
        sender = module.SendEmail()
        sender.setup({"smtp_host": "127.0.0.1", "smtp_port": port, "smtp_timeout": "5s", **settings})
        senders.append(sender)
        return sender

    yield make
    for sender in senders:
        sender.teardown()


@pytest.fixture
def server(make_mail_server: Any) -> Any:
    return make_mail_server()


@pytest.fixture
def send(make_sender: Any, server: Any, make_job: MakeJob) -> Callable[..., dict[str, Any]]:
    """Sends one request, with these changes, to the plain server."""

    def run(**changes: Any) -> dict[str, Any]:
        request = {key: value for key, value in {**REQUEST, **changes}.items() if value is not None}
        return dict(make_sender(server.port).run(make_job(request)))

    return run


def arrived(server: Any) -> EmailMessage:
    message = email.message_from_bytes(server.mailbox.envelopes[-1].content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_arrives_with_its_headers_and_its_text(send: Any, server: Any) -> None:
    result = send(
        subject="Grüße", body="Schöne Grüße\nvom ☂\n", cc=["Jürgen Æ <j@example.com>", '"Doe, Jane" <d@a.example>']
    )
    envelope, message = server.mailbox.envelopes[0], arrived(server)
    assert envelope.mail_from == "me@example.org"
    assert envelope.rcpt_tos == ["rasmus@example.com", "j@example.com", "d@a.example"]
    assert message["Subject"] == "Grüße"
    assert message["To"] == "rasmus@example.com"
    assert [person.display_name for person in message["Cc"].addresses] == ["Jürgen Æ", "Doe, Jane"]
    assert message.get_content() == "Schöne Grüße\r\nvom ☂\r\n"
    assert message["Date"].datetime is not None
    assert result == {"message_id": message["Message-ID"], "accepted": envelope.rcpt_tos, "refused": {}}
    assert result["message_id"].endswith("@example.org>")


def test_hidden_copies_are_delivered_and_stay_hidden(send: Any, server: Any) -> None:
    send(bcc=["secret@example.com"])
    envelope = server.mailbox.envelopes[0]
    assert envelope.rcpt_tos == ["rasmus@example.com", "secret@example.com"]
    assert b"secret" not in envelope.content


def test_html_comes_as_an_alternative_to_the_text(send: Any, server: Any) -> None:
    send(html="<b>How</b> are you?", reply_to="answers@example.org", headers={"X-Campaign": "spring"})
    message = arrived(server)
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content().strip() for part in message.iter_parts()] == ["How are you?", "<b>How</b> are you?"]
    assert (message["Reply-To"], message["X-Campaign"]) == ("answers@example.org", "spring")


def test_a_recipient_who_is_named_twice_gets_one_mail(send: Any, server: Any) -> None:
    send(cc="rasmus@example.com")
    assert server.mailbox.envelopes[0].rcpt_tos == ["rasmus@example.com"]


def test_a_domain_outside_ascii_is_written_in_its_ascii_form(send: Any, server: Any) -> None:
    send(to="info@bücher.example")
    assert server.mailbox.envelopes[0].rcpt_tos == ["info@xn--bcher-kva.example"]


def test_the_sender_comes_from_the_settings_if_the_job_names_none(
    make_sender: Any, server: Any, make_job: MakeJob
) -> None:
    sender = make_sender(server.port, smtp_from="Shop <shop@example.org>")
    sender.run(make_job({"to": "a@example.com", "subject": "", "body": ""}))
    assert server.mailbox.envelopes[0].mail_from == "shop@example.org"
    assert arrived(server)["From"] == "Shop <shop@example.org>"


def test_refused_recipients_are_reported_and_the_others_get_the_mail(send: Any, server: Any) -> None:
    server.mailbox.refused["gone@example.com"] = "550 no such user"
    result = send(to=["gone@example.com", "here@example.com"])
    assert result["accepted"] == ["here@example.com"]
    assert result["refused"] == {"gone@example.com": "550 no such user"}
    assert server.mailbox.envelopes[0].rcpt_tos == ["here@example.com"]


def test_the_job_fails_when_no_recipient_is_accepted(send: Any, server: Any, error: type[Exception]) -> None:
    server.mailbox.refused["rasmus@example.com"] = "550 no such user"
    with pytest.raises(error, match=r"no recipient was accepted: rasmus@example\.com: 550 no such user"):
        send()


def test_a_message_that_the_server_refuses_fails_with_the_servers_words(
    send: Any, server: Any, error: type[Exception]
) -> None:
    server.mailbox.data_reply = "554 looks like spam"
    with pytest.raises(error, match=f"127.0.0.1:{server.port}: the server answered 554 looks like spam"):
        send()


@pytest.mark.parametrize("line_break", ["\r\n", "\n", "\r", "\x0b", "\x1e", "\x85", "\u2028", "\0"])
@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Hi{}Bcc: everybody@example.com"},
        {"to": "a@example.com{}Bcc: everybody@example.com"},
        {"to": ["ok@example.com", "Name{}Bcc: x <a@example.com>"]},
        {"cc": "a@example.com{}"},
        {"bcc": "{}a@example.com"},
        {"reply_to": "a@example.com{}X: y"},
        {"from": "a@example.com{}X: y"},
        {"headers": {"X-Tag": "one{}Bcc: everybody@example.com"}},
    ],
)
def test_a_line_break_in_a_header_is_refused(
    send: Any, server: Any, error: type[Exception], changes: dict[str, Any], line_break: str
) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(entry) for entry in value]
        return (
            {name: filled(text) for name, text in value.items()}
            if isinstance(value, dict)
            else value.format(line_break)
        )

    with pytest.raises(error, match="line breaks and control characters are not allowed in a header") as caught:
        send(**{key: filled(value) for key, value in changes.items()})
    assert next(iter(changes)) in str(caught.value)
    assert server.mailbox.envelopes == []


@pytest.mark.parametrize("text", ["=?utf-8?q?=0D=0ABcc:_x@example.com?=", "=??Q?=0D=0A", "=?utf-8?b?DQpCY2M6IHg=?="])
@pytest.mark.parametrize("key", ["subject", "to", "from", "headers"])
def test_an_encoded_line_break_in_a_header_is_refused(
    send: Any, server: Any, error: type[Exception], key: str, text: str
) -> None:
    value = {"to": f"{text} <a@example.com>", "from": f"{text} <a@example.com>", "headers": {"X-A": text}}
    with pytest.raises(error, match=f"{key}: .*=. are not allowed in a header"):
        send(**{key: value.get(key, text)})
    assert server.mailbox.envelopes == []


@pytest.mark.parametrize(
    "name", ["X-A\r\nBcc", "X A", "X:A", "", "Bcc", "bcc", "Content-Type", "Resent-Date", "Ünicode"]
)
def test_a_header_with_this_name_is_refused(send: Any, error: type[Exception], name: str) -> None:
    with pytest.raises(error, match="headers: "):
        send(headers={name: "value"})


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "rasmus",
            "@example.com",
            "rasmus@",
            "a b@example.com",
            "a@b@example.com",
            "a@exa mple.com",
            "a@-x.example",
        ),
        *("a@example.com, b@example.com", "<a@example.com", "a@example.com>", "N <a@example.com> <b@example.com>"),
        *(
            "a..b@example.com",
            ".a@example.com",
            "a@example..com",
            "a@[127.0.0.1]",
            '"a b"@example.com',
            "a;b@example.com",
        ),
        *("x" * 65 + "@example.com", "a@" + "x" * 64 + ".com", "a@" + "x." * 130 + "com", "a@%s", "a@ex_ample.com"),
    ],
)
@pytest.mark.parametrize("key", ["to", "cc", "bcc", "reply_to"])
def test_an_invalid_address_is_refused(send: Any, error: type[Exception], key: str, address: str) -> None:
    with pytest.raises(error, match=f"{key}: .*is not an e-mail address"):
        send(**{key: address})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"to": None}, "missing: to"),
        ({"to": None, "body": None}, "missing: to, body"),
        ({"to": []}, "there is no recipient"),
        ({"to": 7}, "to: a text is needed"),
        ({"to": {"a": 1}}, "to: a text is needed"),
        ({"subject": 7}, "subject: a text is needed"),
        ({"body": 7}, "body and html: texts are needed"),
        ({"html": []}, "body and html: texts are needed"),
        ({"body": "\ud800"}, "half a character"),
        ({"headers": ["X-A: b"]}, "headers: a JSON object"),
        ({"headers": {"X-A": 7}}, "headers: X-A: a text is needed"),
        ({"from": None}, "from: an address is needed, in the job or as the setting smtp_from"),
        ({"attachment": "x"}, "unknown: 'attachment'; allowed: to, subject, body"),
    ],
)
def test_a_request_that_can_not_become_a_mail_fails_with_the_reason(
    send: Any, error: type[Exception], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        send(**changes)


@pytest.mark.parametrize("workload", [[], "text", 7, None])
def test_a_workload_that_is_no_json_object_is_refused(
    make_sender: Any, server: Any, make_job: MakeJob, error: type[Exception], workload: Any
) -> None:
    with pytest.raises(error, match="must be a JSON object"):
        make_sender(server.port).run(make_job(workload))


# Fragments that have broken header-writing libraries, mixed with any others.
PIECES = st.sampled_from(
    [*'=?" \\,;:<>()', "=?", "?=", "=??Q?=0D=0A", "=?utf-8?b?DQpCY2M6IHg=?=", "x" * 90, "日本" * 20]
)
TEXTS = st.lists(st.text(max_size=30) | PIECES, max_size=6).map("".join)


@given(subject=TEXTS, name=TEXTS, header=TEXTS, body=st.text())
def test_no_text_can_add_a_header_or_a_recipient(load: Load, subject: str, name: str, header: str, body: str) -> None:
    module = load("_email_message")
    request = {**REQUEST, "to": f"{name} <a@example.com>", "subject": subject, "headers": {"X-A": header}, "body": body}
    try:
        envelope = module.build(request, None)
    except module.EmailError:
        return
    content = envelope.message.as_bytes(policy=email.policy.SMTP)
    received = email.message_from_bytes(content, policy=email.policy.default)
    written = {"from", "to", "subject", "date", "message-id", "x-a"}
    mime = {"mime-version", "content-type", "content-transfer-encoding"}
    assert {key.lower() for key in received} == written | mime
    assert len(received.keys()) == len(written | mime)
    assert envelope.recipients == ("a@example.com",)


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
