"""What the demo's steps share: who writes, and the three places where it is seen what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import UUID

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec

from channels.base import Channel
from gateway.dev.demo_stage import Stage
from gateway.dev.management import NUMBERS, Management
from gateway.dev.observing import require

_LINES = """
select l.sku, l.quantity from order_products l where l.order_id = $1 order by l.position
"""
_ORDERS = """
select o.id, o.status, o.requires_review, o.total_amount, o.currency, o.delivery_date, o.unmatched
from orders o
join conversations c on c.distributor_id = o.distributor_id and c.id = o.conversation_id
join customer_contacts k on k.distributor_id = c.distributor_id and k.id = c.contact_id
where k.channel = $1 and k.address = $2
order by o.id
"""
_MESSAGES = """
select m.id, m.conversation_id, m.direction, m.status, m.text, m.provider_message_id, m.ai_processed
from messages m
join conversations c on c.distributor_id = m.distributor_id and c.id = m.conversation_id
join customer_contacts k on k.distributor_id = c.distributor_id and k.id = c.contact_id
where k.channel = $1 and k.address = $2 and m.direction = $3
order by m.id
"""


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who writes to the shop."""

    name: str
    channel: Channel
    address: str

    @property
    def party(self) -> str:
        """How the provider names them."""
        return _party(self.channel, self.address)

    @property
    def counterpart(self) -> str:
        """How the provider names the shop's number that they write to."""
        return _party(self.channel, NUMBERS[self.channel])


def _party(channel: Channel, address: str) -> str:
    return f"whatsapp:{address}" if channel is Channel.WHATSAPP else address


MARTA = Customer("Marta", Channel.WHATSAPP, "+525555550201")
JAMES = Customer("James", Channel.SMS, "+12025550123")
LUPE = Customer("Lupe", Channel.WHATSAPP, "+525555550202")
PABLO = Customer("Pablo", Channel.WHATSAPP, "+525555550203")


@dataclass(frozen=True, slots=True)
class Shop:
    """The tenant that the demo made, as the management API told of it."""

    distributor_id: UUID
    api: Management
    inbound_urls: Mapping[Channel, str]


@dataclass(frozen=True, slots=True)
class MailAccount:
    """The shop's mail account at SendGrid, with SendGrid's own keys."""

    inbound_url: str
    status_url: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)


class Story:
    """The stage, the shop once it is there, and the ways to act and to look from outside."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._shop: Shop | None = None
        self._mail: MailAccount | None = None

    @property
    def shop(self) -> Shop:
        assert self._shop is not None, "the step that makes the tenant comes first"
        return self._shop

    def open_shop(self, shop: Shop) -> None:
        self._shop = shop

    @property
    def mail(self) -> MailAccount:
        assert self._mail is not None, "the step that opens the mail account comes first"
        return self._mail

    def open_mail(self, account: MailAccount) -> None:
        self._mail = account

    # acting

    async def write(self, customer: Customer, text: str, **more: Any) -> int:
        """The customer writes; what the gateway answered to the provider (0: nothing)."""
        order = {
            "url": self.shop.inbound_urls[customer.channel],
            "account_sid": self.stage.login.account_sid,
            "from": customer.party,
            "to": customer.counterpart,
            "body": text,
            **more,
        }
        async with self.stage.session.post(
            f"{self.stage.sandbox_url}/sandbox/inbound", json=order
        ) as response:
            answer = await response.json()
        require(answer, response.status == HTTPStatus.OK, "the sandbox to take the customer's message")
        return int(answer["status"])

    async def write_accepted(self, customer: Customer, text: str, **more: Any) -> None:
        """The customer writes, and the gateway must say 200."""
        status = await self.write(customer, text, **more)
        require(
            status, status == HTTPStatus.OK, f"the gateway to answer 200 to the message of {customer.name}"
        )

    async def break_sends(self, fault: str) -> None:
        """The provider's next answer to a send goes wrong in this way."""
        await self._script(f"{self.stage.sandbox_url}/sandbox/faults", {"fault": fault})

    async def break_receiver(self, *statuses: int) -> None:
        """The integrator's next answers are these."""
        for status in statuses:
            await self._script(f"{self.stage.receiver_url}/faults", {"status": status})

    async def _script(self, url: str, body: Mapping[str, Any]) -> None:
        async with self.stage.session.post(url, json=body) as response:
            require(response.status, response.ok, "the stand-in to take its script")

    # looking: in the database

    async def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Rows as the database holds them."""
        return [dict(row) for row in await self.stage.reader.fetch(statement, *values)]

    async def value(self, statement: str, *values: object) -> Any:
        """One value as the database holds it."""
        return await self.stage.reader.fetchval(statement, *values)

    async def count(self, source: str, *values: object) -> int:
        """How many rows; ``source`` is what follows FROM, a constant of the demo."""
        return int(await self.value(f"select count(*) from {source}", *values))  # noqa: S608 - constants only

    async def orders(self, customer: Customer) -> list[dict[str, Any]]:
        """The customer's orders with their lines, the oldest first."""
        orders = await self.rows(_ORDERS, customer.channel, customer.address)
        for order in orders:
            lines = await self.rows(_LINES, order["id"])
            order["lines"] = {line["sku"]: float(line["quantity"]) for line in lines}
        return orders

    async def messages(self, customer: Customer, direction: str) -> list[dict[str, Any]]:
        """The customer's messages in one direction, the oldest first."""
        return await self.rows(_MESSAGES, customer.channel, customer.address, direction)

    # looking: at the provider and at the integrator

    async def sent(self, customer: Customer | None = None) -> list[dict[str, Any]]:
        """What the provider was given to send, to one customer or to all."""
        shown = await self._get_json(f"{self.stage.sandbox_url}/sandbox/messages")
        outbound = [held for held in shown["messages"] if held["direction"] == "outbound-api"]
        return [held for held in outbound if customer is None or held["to"] == customer.party]

    async def taken(self, provider: str) -> list[dict[str, Any]]:
        """What another provider than Twilio was given, the oldest first: id and document of each request."""
        shown = await self._get_json(f"{self.stage.stand_ins_url}/sandbox/{provider}/taken")
        return list(shown["taken"])

    async def received(self, **query: str) -> list[dict[str, Any]]:
        """What the integrator got, by ``type`` or ``id``; nothing where nobody listens."""
        try:
            shown = await self._get_json(f"{self.stage.receiver_url}/received", query)
        except aiohttp.ClientConnectionError:
            return []
        return list(shown["data"])

    async def _get_json(self, url: str, query: Mapping[str, str] | None = None) -> Any:
        async with self.stage.session.get(url, params=query) as response:
            return await response.json()
