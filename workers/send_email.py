"""Sends an e-mail: JSON with to, subject and body in, the message's id and the accepted recipients out.

It is a class instead of a function because it keeps a connection between jobs: each worker process creates one object,
calls `setup` once, `run` for every job, and `teardown` before it ends.
"""

from collections.abc import Mapping
from typing import Any

from _email_message import build, one_mailbox
from _settings import text
from _smtp import Conversation, SmtpServer

from gearman_manager import Job, function


# The decorator gives the function's name, if it is not the Python name, and the function's keys of the YAML file (which
# wins over the values here).
@function(name="send_email", timeout="60s")
class SendEmail:
    def setup(self, settings: Mapping[str, Any]) -> None:
        """Read the settings here, so that wrong ones are found before the first job."""
        self.default_sender = text(settings, "smtp_from", None)
        if self.default_sender is not None:
            one_mailbox("smtp_from", self.default_sender)
        self.conversation = Conversation(SmtpServer.read(settings))

    def run(self, job: Job) -> dict[str, Any]:
        envelope = build(job.json(), self.default_sender)
        refused = self.conversation.send(envelope)
        for address, words in refused.items():
            job.log.warning("recipient %s refused: %s", address, words)
        return {
            "message_id": envelope.message["Message-ID"],
            "accepted": [address for address in envelope.recipients if address not in refused],
            "refused": refused,
        }

    def teardown(self) -> None:
        self.conversation.close()
