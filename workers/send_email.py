"""Sends an e-mail: JSON with to, subject and body in, the message's id and who was accepted out.

A class instead of a function, because there is something to keep between jobs: each worker process makes one object,
calls `setup` once, `run` for every job, and `teardown` before it ends.
"""

from collections.abc import Mapping
from typing import Any

from _email_message import build, one_mailbox
from _settings import text
from _smtp import Conversation, SmtpServer

from gearman_manager import Job, function


# The decorator says what can't be read off the code: the function's name, where that is not the Python name, and the
# function's keys of the YAML file (which wins over what stands here).
@function(name="send_email", timeout="60s")
class SendEmail:
    def setup(self, settings: Mapping[str, Any]) -> None:
        """Wrong settings are found here, before a job is taken."""
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
