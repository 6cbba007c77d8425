"""Machines that answer each other stop, whatever hides that they are machines; customers are not taken for one."""

import email
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.policy import SMTP
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from multidict import CIMultiDict

from channels.base import Channel, ChannelAdapter, InboundMessage, InboundRequest
from channels.registry import build_adapters
from db.review import list_review
from gateway.dev.stand_ins import mailgun_posts, mime_posts, postmark_posts, sendgrid_posts
from gateway.dev.stand_ins.mail_posts import PostedMail, SignedPost
from handlers.inbound import accept_messages
from handlers.loops import LIMITS
from handlers.runtime import Runtime, new_uuid7, utc_now
from tests.conftest import PUBLIC_URL
from tests.factories import accepted_item, inbound
from tests.fakes import FakeClock
from tests.integration.mail_desk import OWN, MailDesk, customer_mail, open_mail_desk, token_of
from tests.integration.test_handoffs import handoff, reasons
from tests.integration.test_order_consent import orders, say
from tests.integration.test_turns import Shop, shop

__all__ = ["shop"]  # a fixture

CHAT = LIMITS[Channel.SMS]


async def test_answers_of_the_same_words_end_and_a_person_is_asked(shop: Shop, clock: FakeClock):
    for _ in range(CHAT.equal + 2):
        await say(shop, "hola")

    assert len(await shop.replies()) == CHAT.equal
    assert (await handoff(shop), await reasons(shop)) == ("WAITING_HUMAN", ["loop"])
    (response,) = await shop.rows(
        "select status, extracted_data ->> 'handoff_reason' as reason from ai_responses where extracted_data ? 'handoff_reason'"
    )
    assert (response["status"], response["reason"]) == ("COMPLETED", "loop")
    async with shop.runtime.database.tenant(shop.tenant) as connection:
        (waiting,) = await list_review(
            connection, UUID(int=0), oldest_first=True, kind=None, channel=None, limit=10
        )
    assert (waiting.kind, waiting.reasons, waiting.text) == ("MESSAGE", ["loop"], "hola")


async def test_answers_of_other_words_between_them_begin_anew(shop: Shop):
    for text in (*("hola",) * CHAT.equal, "2 cajas de coca 600", "hola"):
        await say(shop, text)

    assert len(await shop.replies()) == CHAT.equal + 2
    assert await reasons(shop) == []


async def test_an_hour_has_so_many_answers_and_the_next_one_more(shop: Shop, clock: FakeClock):
    products = [f"{2 + number % 9} cajas de coca 600" for number in range(CHAT.answers + 2)]
    for text in products[: CHAT.answers]:
        await say(shop, text)
    assert len(await shop.replies()) == CHAT.answers
    await say(shop, products[-2])

    assert len(await shop.replies()) == CHAT.answers
    assert await reasons(shop) == ["loop"]
    assert len(await orders(shop)) == 1  # what was said is kept for the person

    await shop.rows("update conversations set handoff = 'BOT' returning id")
    clock.advance(timedelta(hours=1).total_seconds())
    await say(shop, products[-1])
    assert len(await shop.replies()) == CHAT.answers + 1


async def test_each_contact_is_counted_by_itself(shop: Shop, clock: FakeClock):
    for number in range(CHAT.equal + 1):
        message = inbound("hola", key=f"SM-other-{number}", sender=f"+1555000{number:04}")
        await accept_messages(shop.runtime, [accepted_item(shop.runtime, shop.account, message)])
        clock.advance(5)
        await shop.turn()

    assert len(await shop.replies()) == CHAT.equal + 1


async def test_a_question_that_loops_ends_the_answers(shop: Shop):
    """A question alone would leave the conversation answered (``handlers.handoff``)."""
    for _ in range(CHAT.equal + 2):
        await say(shop, "¿a qué hora cierran?")
    await say(shop, "2 cajas de coca 600")

    assert len(await shop.replies()) == CHAT.equal
    assert await reasons(shop) == ["question"] * CHAT.equal + ["loop"]


# Two gateways


Relay = Callable[[Any], None]


def _as_it_is(_mail: Any) -> None:
    return


def _without(*names: str) -> Relay:
    def strip(mail: Any) -> None:
        for name in names:
            del mail[name]

    return strip


def _renamed(mail: Any) -> None:
    """What SES makes of it."""
    own = sha256(mail["Message-ID"].encode()).hexdigest()[:20]
    del mail["Message-ID"]
    mail["Message-ID"] = f"<0100018f-{own}@us-east-1.amazonses.com>"


def _bare(mail: Any) -> None:
    """A relay that leaves nothing but who, to whom and what about."""
    _without("Auto-Submitted", "X-Auto-Response-Suppress", "In-Reply-To", "References")(mail)
    _renamed(mail)


def _unmarked(mail: Any) -> None:
    """As ``_bare``, and the last line of the text is lost as well: only counting helps."""
    _bare(mail)
    mail.set_content(mail.get_content().partition("[ref:")[0])


def _posted_by(provider: str, mail: PostedMail, now: datetime) -> tuple[dict[str, Any], SignedPost]:
    """The credentials of an account and the post of a mail to it."""
    login = {"username": "hook", "password": "hook-password-1"}
    match provider:
        case "sendgrid":
            key, public = sendgrid_posts.new_signing_key()
            keys = {"inbound_public_key": public, "event_public_key": public}
            return keys, sendgrid_posts.signed(sendgrid_posts.inbound_post(mail), key, now)
        case "mailgun":
            return {"signing_key": "k1"}, mailgun_posts.inbound_post(mail, "k1", now)
        case "postmark":
            return {"basic_auth": login}, postmark_posts.inbound_post(mail, login, new_uuid7())
        case _:
            return {"hmac_secret": "s1"}, mime_posts.inbound_post(mail, "s1", now)


@dataclass
class Pair:
    """Two gateways on one machine, each of which takes the other for a customer; ``formats`` are the providers that post
    to them.
    """

    desks: tuple[MailDesk, MailDesk]
    clock: FakeClock
    relay: Relay
    formats: tuple[str, str]
    adapters: Mapping[str, ChannelAdapter]

    async def round(self) -> int:
        """Each answers what it has, and what it says comes to the other; how many mails went."""
        self.clock.advance(5)
        one, other = self.desks
        for claimed in await one.claim():
            await one.understand(claimed)
        provider = one.provider
        await one.send()
        went = [*zip(provider.sent, provider.raw, strict=True)]
        provider.sent, provider.raw = [], []
        for message, raw in went:
            mail = email.message_from_bytes(raw, policy=SMTP)
            self.relay(mail)
            place = 0 if message.recipient == one.account.address else 1
            await self._post((one, other)[place], self.formats[place], mail.as_bytes())
        return len(went)

    async def _post(self, desk: MailDesk, provider: str, raw: bytes) -> None:
        own = desk.account.address
        sender = next(each.account.address for each in self.desks if each is not desk)
        credentials, post = _posted_by(provider, PostedMail(sender, own, raw), utc_now())
        account = replace(desk.account, provider=provider, credentials=credentials)
        request = InboundRequest(
            "POST", f"{PUBLIC_URL}/in/{provider}/{account.id}", CIMultiDict(post.headers), post.body
        )
        adapter = self.adapters[provider]
        adapter.verify(account, request)
        (message,) = adapter.parse(account, request)
        assert isinstance(message, InboundMessage)
        await accept_messages(desk.runtime, [accepted_item(desk.runtime, desk.account, message)])


async def mails_until_silence(pair: Pair, most: int = 12) -> int:
    """How many mails went before nobody had more to say."""
    total = 0
    for _ in range(most):
        went = await pair.round()
        if went == 0:
            return total
        total += went
    raise AssertionError(f"{total} mails, and no end")


RELAYS: dict[str, Relay] = {
    "as-it-is": _as_it_is,
    "no-auto-submitted": _without("Auto-Submitted"),
    "no-suppress": _without("Auto-Submitted", "X-Auto-Response-Suppress"),
    "renamed": _renamed,
    "bare": _bare,
}


async def open_pair(
    runtime: Runtime, clock: FakeClock, relay: Relay, formats: tuple[str, str], *, same_tenant: bool = False
) -> Pair:
    """Somebody wrote to the first in the name of the second, and to the second in the name of the first."""
    one = await open_mail_desk(runtime)
    other = await open_mail_desk(runtime, "ventas@abarrotes.example", one.tenant if same_tenant else None)
    other.provider = one.provider
    pair = Pair((one, other), clock, relay, formats, build_adapters())
    await one.receive(customer_mail("hola", sender=other.account.address, to=OWN))
    await other.receive(
        customer_mail("hola", "b@x.example", sender=OWN, to=other.account.address, subject="hola")
    )
    return pair


@pytest.mark.parametrize("relay", RELAYS.values(), ids=RELAYS)
@pytest.mark.parametrize("formats", [("mime", "sendgrid"), ("postmark", "mailgun")], ids="-".join)
async def test_two_gateways_that_mail_each_other_stop_within_two_rounds(
    runtime: Runtime, clock: FakeClock, relay: Relay, formats: tuple[str, str]
):
    """Each answers the customer that it takes the other for, once: what comes back is seen to be a machine's."""
    pair = await open_pair(runtime, clock, relay, formats)

    assert await mails_until_silence(pair) == 2
    for desk in pair.desks:
        skipped = await desk.rows("select ai_skip_reason from messages where ai_skip_reason = 'automated'")
        assert len(skipped) == 1


async def test_where_nothing_shows_that_they_are_machines_counting_ends_it(
    runtime: Runtime, clock: FakeClock
):
    pair = await open_pair(runtime, clock, _unmarked, ("mime", "mime"))

    assert await mails_until_silence(pair) == 6  # each greets, and asks the other twice the same
    assert [await reasons(desk) for desk in pair.desks] == [["loop"], ["loop"]]


async def test_a_tenants_accounts_never_answer_each_other(runtime: Runtime, clock: FakeClock):
    pair = await open_pair(runtime, clock, _unmarked, ("mime", "mime"), same_tenant=True)

    assert await mails_until_silence(pair) == 0
    rows = await pair.desks[0].rows(
        "select ai_skip_reason, turn_due_at from messages join conversations c on c.id = conversation_id"
    )
    assert [tuple(row.values()) for row in rows] == [("automated", None)] * 2


@pytest.mark.parametrize(
    ("sender", "reason"),
    [
        ("ventas@bebidas.example", "automated"),
        (f"VENTAS+{'ab' * 16}@bebidas.example", "automated"),
        ("ventas+x@bebidas.example", None),
        ("ventas@abarrotes.example", None),
    ],
    ids=["own", "own-with-mark", "another-plus", "another"],
)
async def test_mail_from_an_address_of_the_tenants_own_is_a_machines(
    runtime: Runtime, sender: str, reason: str | None
):
    desk = await open_mail_desk(runtime)
    await open_mail_desk(runtime, "Ventas@bebidas.example", desk.tenant)
    await open_mail_desk(runtime, "ventas@abarrotes.example")  # another tenant's

    await desk.receive(customer_mail("STOP", sender=sender))

    (row,) = await desk.rows("select ai_skip_reason from messages")
    assert row["ai_skip_reason"] == (reason or "opt_out")
    opted_out = await desk.rows("select id from customer_contacts where opted_out_at is not null")
    assert bool(opted_out) is (reason is None)


async def test_a_mark_that_the_writer_only_quotes_or_that_is_ours_is_no_machines(
    runtime: Runtime, clock: FakeClock
):
    desk, theirs = await open_mail_desk(runtime), await open_mail_desk(runtime, "otra@x.example")
    await theirs.receive(customer_mail())
    token = await token_of(theirs)
    await desk.receive(customer_mail(f"2 cajas de coca\n\n> va\n> [ref:{token}]", subject="Re: x"))
    await desk.receive(customer_mail(f"[ref:{token}] 2 cajas de coca 600", "b@x.example"))
    await desk.receive(customer_mail(f"2 cajas\n[ref:{await token_of(desk)}]", "c@x.example"))
    await desk.receive(customer_mail(f"2 cajas\n[ref:{token}]", "d@x.example"))

    rows = await desk.rows("select ai_skip_reason from messages order by id")
    assert [row["ai_skip_reason"] for row in rows] == [None, None, None, "automated"]
