"""The three targets against real servers and programs."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from gearman_manager.alerts.message import Message
from gearman_manager.alerts.named_targets import targets_of
from gearman_manager.alerts.targets import Target
from gearman_manager.alerts.ways import Undelivered, deliver
from gearman_manager.config import Config

from ...mail_server import MailServer
from ...web_hook import WebHook
from ..samples.conftest import CERTIFICATE


def target(**to: Any) -> Target:
    smtp = to.pop("smtp", {})
    [made] = targets_of(Config.model_validate({"server": {}, "alerts": {"to": to, "smtp": smtp}}))
    return made


def refusal(of: Target, message: Message) -> str:
    with pytest.raises(Undelivered) as refused:
        deliver(of, message)
    return str(refused.value)


def test_a_mail_reaches_all_recipients(mail_server: MailServer, message: Message) -> None:
    to = ["ops@example.com", "boss@example.com"]
    deliver(target(mail=to, smtp={"server": f"127.0.0.1:{mail_server.port}", "from": "gm@example.com"}), message)
    [envelope] = mail_server.mailbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("gm@example.com", to)
    mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert (mail["Subject"], mail["From"], mail["To"]) == (message.subject, "gm@example.com", ", ".join(to))
    body = mail.get_body()
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == message.text


def test_a_mail_server_that_refuses_gives_its_reason(mail_server: MailServer, message: Message) -> None:
    smtp = {"server": f"127.0.0.1:{mail_server.port}"}
    mail_server.mailbox.refused["ops@example.com"] = "550 no such user"
    assert "no such user" in refusal(target(mail="ops@example.com", smtp=smtp), message)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    nobody = target(mail="ops@example.com", smtp={"server": f"127.0.0.1:{port}"})
    assert "Connection refused" in refusal(nobody, message)
    login = smtp | {"user": "u", "password": "s3cret"}
    assert "AUTH" in refusal(target(mail="ops@example.com", smtp=login), message)


def test_a_password_goes_only_to_a_server_with_a_certificate_that_is_trusted(message: Message) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = MailServer(context)
    try:
        smtp = {"server": f"localhost:{server.port}", "tls": "tls", "user": "u", "password": "s3cret"}
        assert "certificate verify failed" in refusal(target(mail="ops@example.com", smtp=smtp), message)
        assert server.mailbox.envelopes == []
    finally:
        server.close()


def test_a_webhook_gets_json_and_no_redirection_is_followed(hook: WebHook, message: Message) -> None:
    to = target(webhook=hook.url)
    deliver(to, message)
    assert (hook.paths, hook.received) == (["/hooks/s3cret"], [message.data])
    hook.status, hook.headers = 302, {"Location": f"http://127.0.0.1:{hook.port}/elsewhere"}
    assert "302" in refusal(to, message)
    hook.status = 500
    assert "500" in refusal(to, message)
    assert set(hook.paths) == {"/hooks/s3cret"}
    assert to.title == f"webhook at 127.0.0.1:{hook.port}"  # without the secret


def test_a_program_beside_the_configuration_gets_json(tmp_path: Path, message: Message) -> None:
    program = tmp_path / "notify.sh"
    program.write_text("#!/bin/sh\ncat >$1; pwd >>$1\n")
    program.chmod(0o755)
    deliver(Target("command", command=("notify.sh", "got"), folder=str(tmp_path)), message)
    got, folder = (tmp_path / "got").read_text().rsplit("}", 1)
    assert json.loads(got + "}") == message.data
    assert folder.strip() == str(tmp_path)


def test_a_program_that_fails_is_named_with_its_last_words(tmp_path: Path, message: Message) -> None:
    failing = Target("command", command=("sh", "-c", "echo first; echo no pager here; exit 3"), folder=str(tmp_path))
    assert refusal(failing, message) == "it ended with 3: no pager here"
    missing = Target("command", command=("/no/such/program",), folder=str(tmp_path))
    assert "No such file" in refusal(missing, message)


def test_all_targets_that_are_named_are_told_and_survive_as_json() -> None:
    to = {
        "mail": "a@example.com",
        "webhook": ["https://x.example/1", "https://y.example:8443/2"],
        "command": "notify.sh",
    }
    targets = targets_of(Config.model_validate({"server": {}, "alerts": {"to": to}}))
    titles = ["mail to a@example.com", "webhook 1 at x.example", "webhook 2 at y.example:8443", "command notify.sh"]
    assert [each.title for each in targets] == titles
    assert [Target.from_json(json.loads(json.dumps(each.to_json()))) for each in targets] == targets
