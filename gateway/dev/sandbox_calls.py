"""The calls that the stand-in of Twilio makes: signed status callbacks and inbound messages."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urldefrag

import aiohttp
from yarl import URL

from channels.signatures import TWILIO_SIGNATURE, twilio_signature
from gateway.dev.sandbox_rules import FAILED_OUTCOMES
from gateway.dev.sandbox_state import API_VERSION, SandboxMessage, SandboxState

WHATSAPP = "whatsapp:"
CLIENT_FAULT, SERVER_FAULT = 400, 500
LOST = 0  # recorded in place of a status where no answer came
CALL_TIMEOUT = aiohttp.ClientTimeout(
    total=15, connect=5
)  # docs, "Webhooks connection overrides": the defaults


@dataclass(frozen=True, slots=True)
class Answer:
    """What a called URL answered; status 0 where nothing came back."""

    status: int
    body: str


class Caller:
    """Posts signed forms as Twilio does, with the retries that the URL's fragment asks for."""

    def __init__(self, state: SandboxState, session: aiohttp.ClientSession, pause: float) -> None:
        self._state = state
        self._session = session
        self._pause = pause

    async def post(self, account_sid: str, url: str, fields: Mapping[str, str]) -> list[Answer]:
        """The answers to a form posted to the URL, one per try. The fragment is neither sent nor signed."""
        bare, fragment = urldefrag(url)
        tries, policies = _overrides(fragment)
        headers = {
            TWILIO_SIGNATURE: twilio_signature(self._state.accounts[account_sid], bare, fields.items()),
            "I-Twilio-Idempotency-Token": str(self._state.new_id()),  # the same on every try
            "User-Agent": "TwilioProxy/1.1",
        }
        answers = [await self._post(bare, fields, headers)]
        while len(answers) < tries and _is_repeated(answers[-1].status, policies):
            answers.append(await self._post(bare, fields, headers))
        return answers

    def follow(self, message: SandboxMessage) -> None:
        """Starts the life of a message that was taken: its statuses, one after the other, with their
        callbacks.
        """
        task = asyncio.create_task(self._live(message))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _live(self, message: SandboxMessage) -> None:
        for status in _life(message):
            await asyncio.sleep(self._pause)
            self._move(message, status)
            if message.callback:
                answers = await self.post(message.account_sid, message.callback, callback_fields(message))
                message.callbacks.append({"status": status, "answers": [answer.status for answer in answers]})

    def _move(self, message: SandboxMessage, status: str) -> None:
        message.status = status
        message.updated = self._state.clock()
        if status == "sent":
            message.sent = message.updated

    async def _post(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        try:
            async with self._session.post(
                URL(url, encoded=True),
                data=dict(fields),
                headers=headers,
                allow_redirects=False,
                timeout=CALL_TIMEOUT,
            ) as response:
                return Answer(response.status, await response.text(errors="replace"))
        except (aiohttp.ClientError, TimeoutError):
            return Answer(LOST, "")


def callback_fields(message: SandboxMessage) -> dict[str, str]:
    """The form of a status callback."""
    fields = {
        "SmsSid": message.sid,
        "SmsStatus": message.status,
        "MessageStatus": message.status,
        "To": message.to,
        "MessageSid": message.sid,
        "AccountSid": message.account_sid,
        "From": message.sender or "",
        "ApiVersion": API_VERSION,
    }
    if message.service:
        fields["MessagingServiceSid"] = message.service
    if message.to.startswith(WHATSAPP):
        fields |= {"ChannelPrefix": "whatsapp", "EventType": message.status.upper()}
    if message.status in FAILED_OUTCOMES and message.error_code:
        fields["ErrorCode"] = str(message.error_code)
    return fields


def _life(message: SandboxMessage) -> tuple[str, ...]:
    """The statuses after the first one, for which Twilio makes no callback (docs, status callbacks)."""
    queued = ("queued",) if message.service else ()
    if message.outcome:
        sent = ("sent",) if message.outcome == "undelivered" else ()
        return (*queued, *sent, message.outcome)
    read = ("read",) if message.to.startswith(WHATSAPP) else ()
    return (*queued, "sent", "delivered", *read)


def _overrides(fragment: str) -> tuple[int, frozenset[str]]:
    """How many tries, and after which faults: ``rc`` retries by policy ``rp``; by default one, for ``ct``."""
    named = parse_qs(fragment)
    asked = named.get("rc", [""])[0]
    retries = min(int(asked), 5) if asked.isdecimal() else 1
    return 1 + retries, frozenset(named.get("rp", ["ct"])[0].split(","))


def _is_repeated(status: int, policies: frozenset[str]) -> bool:
    if status == LOST:
        return bool(policies & {"ct", "rt", "all"})
    if status >= SERVER_FAULT:
        return bool(policies & {"5xx", "all"})
    return status >= CLIENT_FAULT and bool(policies & {"4xx", "all"})
