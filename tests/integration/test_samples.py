"""The sample configurations unchanged, and the sample functions at work: real mails, pictures and web pages."""

from __future__ import annotations

import asyncio
import email
import email.policy
import io
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope
from PIL import Image

from gearman_client import JobException

from .. import warm
from .conftest import BIN, RunningManager, eventually

ROOT = Path(__file__).parents[2]
SAMPLE_CONFIGS = sorted((ROOT / "config").glob("*.yaml"))
FUNCTIONS = {
    "fetch_url",
    "newsletter",
    "reverse",
    "send_email",
    "slow_reverse",
    "text_totals",
    "thumbnail",
    "word_count",
}
DEADLINE_S = 30.0
ORIENTATION_TAG = 0x0112
MAIL = {
    "from": "Shop <shop@example.com>",
    "to": "Rasmus <rasmus@example.org>",
    "cc": ["one@example.net", "two@example.net"],
    "bcc": "archive@example.com",
    "subject": "Your order №7 \N{EN DASH} thank you",
    "body": "Grüße,\nyour shop\n",
}


class MailServer:
    """A real SMTP server on a free port, in a thread of its own, and the mails that it received."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self._loop = asyncio.new_event_loop()
        listening = self._loop.create_server(lambda: SMTP(self, hostname="mail.test"), "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(listening)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Envelope) -> str:  # noqa: N802 (aiosmtpd's name)
        self.envelopes.append(envelope)
        return "250 OK"

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(DEADLINE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        conversations = asyncio.all_tasks() - {asyncio.current_task()}
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    """One mail server for all tests of this module."""
    server = MailServer()
    yield server
    server.close()


class WebServer(ThreadingHTTPServer):
    """A real web server on a free port: one page, and a list of the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requested: list[str] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        body = "<p>Grüße</p>".encode()
        self.send_response(200 if self.path == "/page" else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Keep these messages out of the output of the tests."""


@pytest.fixture
def web_server() -> Iterator[WebServer]:
    """A web server for this test alone."""
    with WebServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(DEADLINE_S)


@contextmanager
def started_sample(folder: Path, config_file: Path) -> Iterator[RunningManager]:
    """A manager that runs a sample configuration; the environment holds further variables for it already."""
    manager = RunningManager(folder)
    manager.config_file = config_file
    # Not below `folder`, whose path can be too long for a socket.
    with tempfile.TemporaryDirectory() as run_folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", run_folder)
        # The system chooses a free port.
        patch.setenv("GEARMAN_PORT", "0")
        # A store has one owner, and the sample may run elsewhere at the same time.
        patch.setenv("GEARMAN_STORE_URL", f"sqlite:///{folder / 'jobs.db'}")
        try:
            manager.launch()
            eventually(manager.settled, f"all workers of {config_file.name} registered")
            (manager.address,) = manager.status()["servers"]
            yield manager
        finally:
            manager.destroy()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory, mail_server: MailServer) -> Iterator[RunningManager]:
    """The manager with config/config.yaml and the mail server of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMTP_PORT", str(mail_server.port))
        with started_sample(tmp_path_factory.mktemp("sample"), ROOT / "config" / "config.yaml") as manager:
            yield manager


def test_a_long_text_is_counted_by_several_workers(sample: RunningManager) -> None:
    text = "".join(f"line {number} with ümlauts\n" for number in range(20_000)) + "the end"
    steps: list[tuple[int, int]] = []
    with sample.client(timeout_s=DEADLINE_S) as client:
        counted = json.loads(client.submit("text_totals", text, on_status=lambda *of: steps.append(of)))
        assert json.loads(client.submit("text_totals", b"")) == {"lines": 0, "words": 0, "characters": 0}
        with pytest.raises(JobException, match="the text is not UTF-8"):
            client.submit("text_totals", b"fine\n\xff")
    assert counted == {"lines": 20_001, "words": 80_002, "characters": len(text)}
    assert steps == [(step, len(steps)) for step in range(1, len(steps) + 1)]
    assert len(steps) > 5


def gearman(manager: RunningManager, *arguments: str, stdin: bytes = b"") -> bytes:
    """The output of our own `gearman` command, which must succeed with an empty standard error."""
    host, _, port = manager.address.rpartition(":")
    command = [str(BIN / "gearman"), "-h", host, "-p", port, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.parametrize("config_file", SAMPLE_CONFIGS, ids=lambda file: file.name)
def test_a_sample_configuration_passes_check(config_file: Path) -> None:
    done = warm.run("gearman_manager", ["-c", config_file, "check"], DEADLINE_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{config_file}: fine, 8 functions in 8 pools"


@pytest.mark.parametrize("config_file", SAMPLE_CONFIGS, ids=lambda file: file.name)
def test_a_sample_configuration_runs_and_stops(config_file: Path, tmp_path: Path) -> None:
    with started_sample(tmp_path, config_file) as manager:
        status = manager.status()
        assert (set(status["functions"]), status["errors"]) == (FUNCTIONS, [])
        assert gearman(manager, "-f", "reverse", "Rasmus") == b"sumsaR"
        assert manager.stop() == 0
        assert not re.search(r"\b(WARNING|ERROR|CRITICAL)\b|Traceback", manager.log()), manager.log()


def test_a_mail_arrives(sample: RunningManager, mail_server: MailServer) -> None:
    mail_server.envelopes.clear()
    with sample.client(timeout_s=DEADLINE_S) as client:
        result = json.loads(client.submit("send_email", json.dumps(MAIL)))
    (envelope,) = mail_server.envelopes
    recipients = ["rasmus@example.org", "one@example.net", "two@example.net", "archive@example.com"]
    assert (envelope.mail_from, envelope.rcpt_tos) == ("shop@example.com", recipients)
    message = parsed(envelope)
    assert message["From"] == MAIL["from"]
    assert message["To"] == MAIL["to"]
    assert message["Cc"] == "one@example.net, two@example.net"
    assert message["Bcc"] is None
    assert message["Subject"] == MAIL["subject"]
    assert message.get_content().replace("\r\n", "\n") == MAIL["body"]
    assert result == {"message_id": message["Message-ID"], "accepted": recipients, "refused": {}}


def parsed(envelope: Envelope) -> EmailMessage:
    content = envelope.content
    assert isinstance(content, bytes)
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_each_recipient_of_a_newsletter_gets_a_mail_of_its_own(sample: RunningManager, mail_server: MailServer) -> None:
    mail_server.envelopes.clear()
    recipients = [f"reader{number}@example.org" for number in range(5)]
    steps: list[tuple[int, int]] = []
    with sample.client(timeout_s=DEADLINE_S) as client:
        request = MAIL | {"to": recipients, "cc": [], "bcc": []}
        result = client.submit("newsletter", json.dumps(request), on_status=lambda *of: steps.append(of))
        with pytest.raises(JobException, match="to: 'no address' is not an e-mail address"):
            client.submit("newsletter", json.dumps(MAIL | {"to": ["reader@example.org", "no address"]}))
    assert json.loads(result) == {"recipients": 5}
    assert [envelope.rcpt_tos for envelope in mail_server.envelopes] == [[recipient] for recipient in recipients]
    assert [parsed(envelope)["To"] for envelope in mail_server.envelopes] == recipients
    assert steps == [(number, 5) for number in range(5)]


def test_every_mail_of_a_backlog_arrives_once(sample: RunningManager, mail_server: MailServer) -> None:
    mail_server.envelopes.clear()
    subjects = [f"mail {number}" for number in range(100)]
    with sample.client() as client:
        for subject in subjects:
            client.submit_background("send_email", json.dumps(MAIL | {"subject": subject}))
        eventually(lambda: len(mail_server.envelopes) >= len(subjects), "all mails arrived")
        # Submitted last, whatever the number of workers: no mail may come twice.
        client.submit("send_email", json.dumps(MAIL | {"subject": "the last"}), timeout_s=DEADLINE_S)
    arrived = sorted(str(parsed(envelope)["Subject"]) for envelope in mail_server.envelopes)
    assert arrived == sorted([*subjects, "the last"])


def test_a_mail_with_a_smuggled_header_is_refused(sample: RunningManager, mail_server: MailServer) -> None:
    mail_server.envelopes.clear()
    smuggled = json.dumps(MAIL | {"subject": "Hello\r\nBcc: everybody@example.com"})
    with (
        sample.client(timeout_s=DEADLINE_S) as client,
        pytest.raises(JobException, match="EmailError: subject: line breaks and control characters are not allowed"),
    ):
        client.submit("send_email", smuggled)
    assert mail_server.envelopes == []


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 megapixels, stored as a camera held upright stores them: lying on the side, with a tag that says so."""
    image = Image.new("RGB", (4000, 3000), "red")
    image.paste("blue", (2000, 0, 4000, 3000))
    noise = Image.effect_noise((4000, 3000), 64).convert("RGB")
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6  # the left side belongs on top
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.blend(image, noise, 0.05).save(path, quality=85, exif=exif)
    assert path.stat().st_size > 1_000_000
    return path


def assert_upright_thumbnail(picture: bytes, size: tuple[int, int]) -> None:
    """Asserts a JPEG of this size: red above, blue below, and without a tag that would turn it a second time."""
    with Image.open(io.BytesIO(picture), formats=["JPEG"]) as image:
        assert image.size == size
        assert ORIENTATION_TAG not in image.getexif()
        above, below = (image.getpixel((size[0] // 2, y)) for y in (size[1] // 8, size[1] * 7 // 8))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert above[0] > 150 > 100 > above[2]
    assert below[2] > 150 > 100 > below[0]


def test_a_large_photo_becomes_an_upright_thumbnail(sample: RunningManager, photo: Path) -> None:
    with sample.client(timeout_s=DEADLINE_S) as client:
        assert_upright_thumbnail(client.submit("thumbnail", photo.read_bytes()), (240, 320))
        by_path = json.dumps({"path": str(photo), "width": 100, "height": 100})
        assert_upright_thumbnail(client.submit("thumbnail", by_path), (75, 100))


@pytest.mark.parametrize("program", ["/usr/bin/gearman", BIN / "gearman"], ids=["Debian's", "ours"])
def test_gearman_turns_a_file_into_a_thumbnail(
    sample: RunningManager, photo: Path, tmp_path: Path, program: Path
) -> None:
    if not Path(program).exists():
        pytest.skip(f"missing peer: {program} (Debian: gearman-tools)")
    host, _, port = sample.address.rpartition(":")
    thumbnail = tmp_path / "thumbnail.jpg"
    with photo.open("rb") as source, thumbnail.open("wb") as target:
        command = [str(program), "-h", host, "-p", port, "-f", "thumbnail"]
        done = subprocess.run(
            command, stdin=source, stdout=target, stderr=subprocess.PIPE, timeout=DEADLINE_S, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert_upright_thumbnail(thumbnail.read_bytes(), (240, 320))


def test_a_file_that_is_no_picture_is_refused(sample: RunningManager) -> None:
    with sample.client(timeout_s=DEADLINE_S) as client, pytest.raises(JobException, match="PictureError: this is no"):
        client.submit("thumbnail", b"GIF, but not really")


def test_a_page_is_fetched_where_private_addresses_are_allowed(manager: RunningManager, web_server: WebServer) -> None:
    allowed = "functions: {fetch_url: {settings: {allow_private: true}}}"
    manager.start(f"workers_dir: {ROOT / 'workers'}\n{allowed}\n")
    with manager.client(timeout_s=DEADLINE_S) as client:
        result = json.loads(client.submit("fetch_url", json.dumps({"url": web_server.url("/page")})))
        assert result == {
            "url": web_server.url("/page"),
            "status": 200,
            "content_type": "text/html; charset=utf-8",
            "encoding": "utf-8",
            "body": "<p>Grüße</p>",
        }
        missing = json.loads(client.submit("fetch_url", json.dumps({"url": web_server.url("/missing")})))
        assert missing["status"] == 404
    assert web_server.requested == ["/page", "/missing"]


def test_a_page_at_a_private_address_is_refused_by_default(sample: RunningManager, web_server: WebServer) -> None:
    with sample.client(timeout_s=DEADLINE_S) as client:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
            url = web_server.url("/page").replace("127.0.0.1", host)
            with pytest.raises(JobException, match=r"private or reserved address; see the setting allow_private\Z"):
                client.submit("fetch_url", json.dumps({"url": url}))
    assert web_server.requested == []


def test_words_are_counted(sample: RunningManager) -> None:
    text = "Grüße an\nalle\n"
    expected = {"lines": 2, "words": 3, "characters": 14}
    with sample.client(timeout_s=DEADLINE_S) as client:
        assert json.loads(client.submit("word_count", text)) == expected
    assert json.loads(gearman(sample, "-f", "word_count", stdin=text.encode())) == expected
