"""The mails of send_email: headers, recipients, refusals, and texts that try to add headers."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import REQUEST, Load, MakeJob


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
