"""The stand-ins on a port, and what the tests of mail providers send through them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import aiohttp

from channels.abilities import MediaContent
from channels.base import Attachment, Channel, MailHeaders, OutboundMessage
from channels.errors import GatewayError, NotThere
from gateway.dev.stand_ins.app import StandIns, running_stand_ins
from tests.fakes import FakeClock

OUR_MESSAGE = UUID("0191d6a0-0000-7000-8000-00000000abcd")
CUSTOMER = "rosa@tienda-rosa.example"
THREAD = "0123456789abcdef" * 2
MAIL = MailHeaders(
    subject="Re: Order for Tuesday",
    message_id=f"{THREAD}.{OUR_MESSAGE.hex}@acme.example",
    reply_to=f"orders+{THREAD}@acme.example",
    in_reply_to="CAF0001@mail.tienda-rosa.example",
    references=("CAF0000@mail.tienda-rosa.example", "CAF0001@mail.tienda-rosa.example"),
)
PDF = Attachment("", "application/pdf", "order.pdf", content=b"%PDF-1.4\n")


def message(text="2 cases are on their way — ñ", files=(), number=OUR_MESSAGE) -> OutboundMessage:
    return OutboundMessage(number, Channel.EMAIL, CUSTOMER, text, "", tuple(files), mail=MAIL)


@dataclass
class StandIn:
    """A provider's stand-in and where it is."""

    url: str
    stand_ins: StandIns
    clock: FakeClock
    provider: str

    @property
    def state(self):
        return self.stand_ins[self.provider]

    @property
    def base(self) -> str:
        return f"{self.url}/{self.provider}"


@asynccontextmanager
async def stand_in(provider: str) -> AsyncIterator[StandIn]:
    clock = FakeClock()
    numbers = iter(range(1, 10_000))
    stand_ins = StandIns(lambda: UUID(int=next(numbers)), clock)
    async with running_stand_ins(stand_ins) as url:
        yield StandIn(url, stand_ins, clock, provider)


@dataclass
class PlainDownloads:
    """Downloads without a guard, for stand-ins on loopback; ``refused`` are addresses that are not given, and why."""

    refused: dict[str, type[GatewayError]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def get(self, url, headers=None):
        self.asked.append((url, dict(headers or {})))
        if url in self.refused:
            raise self.refused[url]
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            if answer.status == 404:
                raise NotThere
            answer.raise_for_status()
            return MediaContent(await answer.read(), answer.content_type)
