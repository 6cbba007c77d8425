"""What the stand-in of Twilio refuses and how it can be told to fail, as data.

Source: Twilio docs, "Messages resource" (create) and the error dictionary for codes and texts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

from channels.splitting import units

ADDRESS = re.compile(r"(?:whatsapp:)?\+[1-9][0-9]{6,14}|whatsapp:[A-Z]{2}\.[A-Za-z0-9.]{1,132}", re.ASCII)
SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}", re.ASCII)
CONTENT_SID = re.compile(r"HX[0-9a-fA-F]{32}", re.ASCII)
BODY_LIMIT = 1600
MEDIA_LIMIT = 10
STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
HELP_WORDS = frozenset({"HELP", "INFO"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer of the REST API."""

    status: int
    code: int
    message: str


AUTHENTICATE = Refusal(401, 20003, "Authenticate")
NOT_FOUND = Refusal(404, 20404, "The requested resource was not found")
OPTED_OUT = Refusal(400, 21610, "Attempt to send to unsubscribed recipient")


class Ending(StrEnum):
    """How a scripted fault ends the exchange."""

    ANSWER = "answer"
    GARBAGE = "garbage"  # 201 with a body that cannot be read
    HANG = "hang"  # no answer until the client goes or the sandbox stops
    DROP = "drop"  # the connection is closed without an answer


@dataclass(frozen=True, slots=True)
class Fault:
    """One scripted fault. ``taken``: the message is accepted and sent all the same; ``outcome``: its last
    status.
    """

    ending: Ending = Ending.ANSWER
    status: int = 201
    code: int = 0
    taken: bool = False
    retry_after: int | None = None
    outcome: str | None = None

    @property
    def refusal(self) -> Refusal:
        return Refusal(self.status, self.code, "Scripted fault")


FAULTS: Mapping[str, Fault] = {
    "429": Fault(status=429, code=20429, retry_after=1),
    "500": Fault(status=500, code=20500),
    "502": Fault(status=502),
    "503": Fault(status=503, code=20503),
    "500_taken": Fault(status=500, code=20500, taken=True),
    "garbage": Fault(Ending.GARBAGE, taken=True),
    "hang": Fault(Ending.HANG, taken=True),
    "hang_untaken": Fault(Ending.HANG),
    "drop": Fault(Ending.DROP, taken=True),
    "drop_untaken": Fault(Ending.DROP),
}
FAILED_OUTCOMES = frozenset({"undelivered", "failed"})
ERROR_CODE = re.compile(r"[1-9][0-9]{4}", re.ASCII)


def fault_named(name: str, retry_after: int | None = None) -> Fault | None:
    """A fault by its name: one of FAULTS, an error code (``21610``, answered with 400), or
    ``undelivered:30005``.
    """
    outcome, _, code = name.partition(":")
    if outcome in FAILED_OUTCOMES:
        return Fault(outcome=outcome, code=int(code) if ERROR_CODE.fullmatch(code) else 0)
    fault = FAULTS.get(name)
    if fault is None and ERROR_CODE.fullmatch(name):
        fault = Fault(status=400, code=int(name))
    return replace(fault, retry_after=retry_after) if fault and retry_after is not None else fault


def refusal_of(fields: Mapping[str, str], media: Sequence[str]) -> Refusal | None:
    """Why Twilio would refuse to create this message; None where it would not."""
    checks = (
        _check_recipient(fields),
        _check_sender(fields),
        _check_content(fields, media),
        _check_urls(fields, media),
    )
    return next((refusal for refusal in checks if refusal), None)


def text_of(fields: Mapping[str, str]) -> str:
    """What the recipient reads: the text, or what a template is made into (its own words are not known here)."""
    if "ContentSid" not in fields:
        return fields.get("Body", "")
    variables: dict[str, str] = json.loads(fields.get("ContentVariables", "{}"))
    return " ".join(["Template", fields["ContentSid"], *variables.values()])


def media_taken(fields: Mapping[str, str], media: Sequence[str]) -> tuple[str, ...]:
    """The files that leave: of a WhatsApp message the first only, and nobody is told."""
    return tuple(media[:1] if fields.get("To", "").startswith("whatsapp:") else media)


def keyword_of(body: str) -> str | None:
    """STOP, START or HELP where the whole text is one of their words; None otherwise."""
    word = body.strip().upper()
    kinds = {"STOP": STOP_WORDS, "START": START_WORDS, "HELP": HELP_WORDS}
    return next((kind for kind, words in kinds.items() if word in words), None)


def _check_recipient(fields: Mapping[str, str]) -> Refusal | None:
    recipient = fields.get("To")
    if not recipient:
        return Refusal(400, 21604, "A 'To' phone number is required.")
    if not ADDRESS.fullmatch(recipient):
        return Refusal(400, 21211, "Invalid 'To' Phone Number")
    return None


def _check_sender(fields: Mapping[str, str]) -> Refusal | None:
    sender, service = fields.get("From"), fields.get("MessagingServiceSid")
    if service:
        return (
            None
            if SERVICE_SID.fullmatch(service)
            else Refusal(400, 21705, "The Messaging Service Sid is invalid")
        )
    if not sender:
        return Refusal(400, 21603, "A 'From' phone number is required.")
    if not ADDRESS.fullmatch(sender):
        return Refusal(400, 21212, "Invalid 'From' Phone Number")
    if sender.startswith("whatsapp:") != fields["To"].startswith("whatsapp:"):
        return Refusal(400, 21910, "Invalid 'From' and 'To' pair. They should be of the same channel")
    return None


def _check_content(fields: Mapping[str, str], media: Sequence[str]) -> Refusal | None:
    body = fields.get("Body", "")
    if not body and not media and not fields.get("ContentSid"):
        return Refusal(400, 21602, "Message body is required.")
    if units(body) > BODY_LIMIT:
        return Refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit")
    return _check_template(fields)


def _check_template(fields: Mapping[str, str]) -> Refusal | None:
    if "ContentSid" in fields and not CONTENT_SID.fullmatch(fields["ContentSid"]):
        return Refusal(400, 21655, "The ContentSid is invalid")
    try:
        variables = json.loads(fields.get("ContentVariables", "{}"))
    except ValueError:
        variables = None
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        return Refusal(400, 21656, "The ContentVariables parameter is invalid")
    return None


def _check_urls(fields: Mapping[str, str], media: Sequence[str]) -> Refusal | None:
    if len(media) > MEDIA_LIMIT:
        return Refusal(400, 21623, "Number of media files exceeds allowed limit")
    if not all(_is_callable(url) for url in media):
        return Refusal(400, 21620, "Invalid media URL(s)")
    callback = fields.get("StatusCallback")
    if callback and (not _is_callable(callback) or "_" in (urlsplit(callback).hostname or "")):
        return Refusal(400, 21609, "The 'StatusCallback' URL is not a valid URL")
    return None


def _is_callable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
