"""Sends a message to each of many recipients, one mail for each, and goes on where it was after an interruption.

JSON with to, subject and body in, the number of recipients out. `job.iterate` keeps at the job server how far the job
has come: neither a stop nor a new version of the code costs any recipient a second mail.
"""

import smtplib
from collections.abc import Mapping
from typing import Any

from _email_message import EmailError, Envelope, build, check_keys, mailboxes, one_mailbox
from _settings import text
from _smtp import Conversation, SmtpServer

from gearman_manager import Job, Reject, function


# A failed attempt goes on with the recipient at which it failed.
@function(name="newsletter", timeout="1h", retries=5, backoff="1m")
class Newsletter:
    def setup(self, settings: Mapping[str, Any]) -> None:
        self.default_sender = text(settings, "smtp_from", None)
        if self.default_sender is not None:
            one_mailbox("smtp_from", self.default_sender)
        self.conversation = Conversation(SmtpServer.read(settings))

    def run(self, job: Job) -> dict[str, int]:
        request = job.json()
        recipients = self.checked(request)
        for done, recipient in enumerate(job.iterate(recipients), job.cursor or 0):
            job.status(done, len(recipients))
            self.send(job, build({**request, "to": recipient}, self.default_sender))
        return {"recipients": len(recipients)}

    def checked(self, request: Any) -> list[str]:
        """The recipients. A mistake is found before the first mail is sent, and no further attempt follows."""
        try:
            check_keys(request)
            recipients = list(map(str, mailboxes("to", request["to"])))
            build({**request, "to": recipients[:1]}, self.default_sender)
        except EmailError as error:
            raise Reject(str(error)) from error
        return recipients

    def send(self, job: Job, envelope: Envelope) -> None:
        try:
            self.conversation.send(envelope)
        except EmailError as error:
            if not isinstance(error.__cause__, smtplib.SMTPRecipientsRefused):
                raise
            job.log.warning("left out: %s", error)  # the others are not to wait for this one

    def teardown(self) -> None:
        self.conversation.close()
