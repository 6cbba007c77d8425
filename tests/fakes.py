"""Fakes that tests pass in: a clock that moves when told to, an engine and a provider that do what a script
says.
"""

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from channels.base import Channel, ChannelAccount, OutboundMessage, SendReceipt
from channels.errors import OutcomeUnknown
from handlers.ai.types import Extraction, ExtractionRequest

START = datetime(2026, 7, 6, 15, 0, tzinfo=UTC)


class FakeClock:
    """Calling it gives the time; ``advance`` moves it."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


class FakeEngine:
    """Answers every burst with ``answer`` (an Extraction, an error to raise, or a function of the
    request).
    """

    name = "fake"

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.requests: list[ExtractionRequest] = []
        self.closed = False

    async def extract(self, request: ExtractionRequest) -> Extraction:
        self.requests.append(request)
        answer = self.answer(request) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return cast(Extraction, await answer if inspect.isawaitable(answer) else answer)

    async def aclose(self) -> None:
        self.closed = True


class FakeAdapter:
    """A provider that remembers what was sent; ``script`` holds errors to raise, one per send."""

    name = "twilio"
    channels = frozenset({Channel.SMS, Channel.WHATSAPP})

    def __init__(self) -> None:
        self.sent: list[OutboundMessage] = []
        self.accounts: list[ChannelAccount] = []
        self.script: list[Exception | None] = []
        self.lookups: list[frozenset[str]] = []

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        self.accounts.append(account)
        error = self.script.pop(0) if self.script else None
        # A time-out after the request left: the provider has it all the same.
        if error is None or isinstance(error, OutcomeUnknown):
            self.sent.append(message)
        if error is not None:
            raise error
        return SendReceipt(f"SM{len(self.sent)}", "queued")

    async def find_sent(
        self, account: ChannelAccount, message: OutboundMessage, since: datetime, known_ids: frozenset[str]
    ) -> SendReceipt | None:
        self.lookups.append(known_ids)
        for number, sent in enumerate(self.sent, 1):
            if sent.text == message.text and f"SM{number}" not in known_ids:
                return SendReceipt(f"SM{number}", "delivered")
        return None
