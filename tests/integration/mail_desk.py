"""A tenant that takes orders by mail, with its worker's steps one by one, and customers whose programs answer it."""

import email
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any
from uuid import UUID

from channels.base import Channel, ChannelAccount, InboundMessage, OutboundMessage, SendReceipt
from channels.mail_reading import inbound_mail, mail_key
from channels.mail_writing import build_mime
from channels.mime import read_mail
from db.lanes import ClaimedTurn, claim_sends
from handlers.ai.rules import RulesEngine
from handlers.catalogues import CatalogueCache
from handlers.faults import OnFault, unheard
from handlers.fetching import DownloadSource
from handlers.inbound import accept_messages
from handlers.outbound import send_message
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from handlers.send_rates import SEND_PACE
from handlers.threads import make_reply_token
from handlers.turns import TurnResult, TurnTools, run_turn
from tests.factories import accepted_item, fetch_rows, make_account, make_distributor, make_product
from tests.integration.test_outbound import TERMS
from tests.integration.test_turns import Shop

OWN = "pedidos@bebidas.example"
ROSA = "rosa@tienda-rosa.example"
_REPLIES = Path(__file__).parents[1] / "fixtures" / "mail_replies"


class MailProvider:
    """Takes mails as whole MIME messages; ``named`` is the Message-ID that it puts in the place of ours."""

    name = "twilio"
    channels = frozenset({Channel.EMAIL})

    def __init__(self) -> None:
        self.sent: list[OutboundMessage] = []
        self.raw: list[bytes] = []
        self.named: str | None = None
        self.script: list[Exception] = []

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        self.sent.append(message)
        if self.script:
            raise self.script.pop(0)
        self.raw.append(build_mime(account, message))
        return SendReceipt(f"provider-{len(self.raw)}", "queued", self.named)


@dataclass
class MailDesk(Shop):
    """One mail account of a tenant."""

    runtime: Runtime
    account: ChannelAccount
    provider: MailProvider = field(default_factory=MailProvider)

    @property
    def tenant(self) -> UUID:  # type: ignore[override]
        return self.account.distributor_id

    async def receive(self, raw: bytes, envelope_to: tuple[str, ...] = ()) -> InboundMessage:
        """A mail comes in; what it was read as."""
        mail = read_mail(raw, envelope_to=envelope_to)
        message = inbound_mail(self.account, mail, mail_key(mail))
        await accept_messages(self.runtime, [accepted_item(self.runtime, self.account, message)])
        return message

    async def understand(self, claimed: ClaimedTurn) -> TurnResult:
        """One claimed turn, by the rules."""
        return await run_turn(self.runtime, TurnTools(RulesEngine(), CatalogueCache()), claimed)

    async def send(
        self, downloads: DownloadSource | None = None, on_fault: OnFault = unheard
    ) -> list[SendResult]:
        async with self.runtime.database.worker_statements() as connection:
            claimed = await claim_sends(
                connection, TERMS, self.runtime.clock(), self.runtime.new_id(), SEND_PACE
            )
        adapters: Any = {"twilio": self.provider}
        return [await send_message(self.runtime, adapters, one, downloads, on_fault) for one in claimed]

    async def conversations(self) -> list[int]:
        """How many mails came in to each conversation, in the order of their first ones."""
        rows = await fetch_rows(
            self.runtime,
            self.tenant,
            "select count(*) as mails from messages where direction = 'INBOUND' and channel_account_id = $1"
            " group by conversation_id order by min(created_at)",
            self.account.id,
        )
        return [row["mails"] for row in rows]


async def open_mail_desk(runtime: Runtime, address: str = OWN, tenant: UUID | None = None) -> MailDesk:
    """A tenant (a new one, unless it is named) with a mail account and two products."""
    if tenant is None:
        tenant = await make_distributor(runtime, time_zone="America/Mexico_City", currency="MXN")
        await make_product(
            runtime, tenant, "COCA-600", "Coca-Cola 600 ml", brand="Coca-Cola", aliases=["coca 600"]
        )
        await make_product(runtime, tenant, "CIEL-1", "Agua Ciel 1 L", brand="Ciel", aliases=["agua ciel"])
    return MailDesk(runtime, await make_account(runtime, tenant, Channel.EMAIL, address))


async def token_of(desk: MailDesk) -> str:
    """The mark of the desk's first thread."""
    rows = await desk.rows("select thread_key from conversations order by id")
    return make_reply_token(desk.runtime.sealer, desk.tenant, desk.account.id, rows[0]["thread_key"])


def customer_mail(
    text: str = "2 cajas de coca 600",
    message_id: str = "first@tienda-rosa.example",
    sender: str = f"Rosa Tienda <{ROSA}>",
    to: str = OWN,
    subject: str = "Pedido de la semana",
    **headers: str,
) -> bytes:
    """A customer's own mail; ``headers`` by names with underscores."""
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = sender, to, subject
    mail["Message-ID"] = f"<{message_id}>"
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content(text)
    return mail.as_bytes()


def answer_to(
    raw: bytes, program: str, keep: frozenset[str] = frozenset({"plus", "parent", "line", "mark"})
) -> bytes:
    """What a mail program makes of a customer's answer to our mail. ``keep`` says what of our marks survives: the
    address with the mark (plus), In-Reply-To (parent), References (line) and the mark in the quoted text (mark).
    """
    ours: Any = email.message_from_bytes(raw, policy=SMTP)
    own = ours["From"].addresses[0].addr_spec
    plain = ours.get_content().replace("\r\n", "\n").rstrip()
    if "mark" not in keep:
        plain = plain.partition("[ref:")[0].rstrip()
    line = f"{ours.get('References', '')} {ours['Message-ID']}".strip()
    values: Mapping[str, str] = {
        "own": own,
        "to": ours["Reply-To"].addresses[0].addr_spec if "plus" in keep and "Reply-To" in ours else own,
        "in_reply_to": ours["Message-ID"] if "parent" in keep else "",
        "references": line if "line" in keep else "",
        "subject": str(ours["Subject"]),
        "plain": plain,
        "quoted": "\n".join(f"> {line}" for line in plain.splitlines()),
    }
    text = (_REPLIES / f"{program}.eml").read_text("utf-8").format(**values)
    lines = (line for line in text.split("\n") if line not in {"In-Reply-To: ", "References: "})
    return "\r\n".join(lines).encode()
