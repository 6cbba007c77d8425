"""What providers post beside messages and statuses, and how posts are kept: one row each, byte for byte, one body per
one-time token.
"""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from channels.base import (
    Attachment,
    Channel,
    ChannelAccount,
    ConsentChange,
    ConsentUpdate,
    DeferredPost,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    MessageType,
    StatusUpdate,
    SuppressionReason,
)
from db.wake import Notifier
from gateway.acceptor import Acceptor
from handlers.inbound import (
    Posted,
    accept_consents,
    accept_deferred,
    accept_messages,
    accept_statuses,
    consent_item,
    deferred_item,
    message_item,
    status_item,
)
from handlers.runtime import Runtime
from tests.factories import (
    accepted_item,
    fetch_rows,
    inbound,
    make_account,
    make_distributor,
    make_outbound,
)
from tests.fakes import FakeClock

ADDRESS = "anna@bar.test"
OUT, IN = ConsentChange.OUT, ConsentChange.IN
BOUNCE, RESUBSCRIBE = SuppressionReason.BOUNCE, SuppressionReason.RESUBSCRIBE


class Mailbox:
    """An e-mail account and what comes to it."""

    def __init__(self, runtime: Runtime, account: ChannelAccount) -> None:
        self.runtime = runtime
        self.account = account

    def post(self, body: bytes = b"Body=x", token: str | None = None) -> Posted:
        request = InboundRequest("POST", f"{self.runtime.public_url}/in/mailgun/{self.account.id}", {}, body)
        return Posted(self.account, request, self.runtime.clock(), token)

    def mail(self, key: str, **fields: Any) -> InboundMessage:
        return inbound(key=key, sender=ADDRESS, channel=Channel.EMAIL, **fields)

    async def receive(self, post: Posted, *keys: str, **fields: Any) -> list[tuple[bool, bool]]:
        """Mails of one post in one flush: which were known, which had a used token."""
        items = [message_item(self.runtime, post, self.mail(key, **fields), 4.0) for key in keys]
        return [(a.duplicate, a.token_reused) for a in await accept_messages(self.runtime, items)]

    async def hear(self, *updates: ConsentUpdate) -> list[bool]:
        """Words about addresses in one flush: which were known."""
        items = [consent_item(self.runtime, self.post(), update) for update in updates]
        return [answer.duplicate for answer in await accept_consents(self.runtime, items)]

    def word(self, change: ConsentChange, age: float = 0, key: str = "e1", **fields: Any) -> ConsentUpdate:
        reason = BOUNCE if change is OUT else RESUBSCRIBE
        at = self.runtime.clock() - timedelta(seconds=age)
        return replace(ConsentUpdate(key, ADDRESS, change, reason, at), **fields)

    async def rows(self, query: str) -> list[dict[str, Any]]:
        return await fetch_rows(self.runtime, self.account.distributor_id, query)

    async def contact(self) -> tuple[Any, ...]:
        (row,) = await self.rows("select opted_out_at, opt_out_reason, customer_id from customer_contacts")
        return tuple(row.values())

    async def told(self) -> list[str]:
        rows = await self.rows(
            "select type from webhook_events where type like 'customer.opted%' order by id"
        )
        return [row["type"].removeprefix("customer.") for row in rows]


@pytest.fixture
async def mailbox(runtime: Runtime) -> Mailbox:
    account = await make_account(runtime, await make_distributor(runtime), Channel.EMAIL, "orders@shop.test")
    return Mailbox(runtime, account)


class TestPosts:
    async def test_a_post_is_kept_byte_for_byte_and_once_for_all_that_came_in_it(self, mailbox: Mailbox):
        body = bytes(range(256)) * 10
        post = mailbox.post(body)

        await mailbox.receive(post, "a", "b")
        await mailbox.receive(post, "c")

        assert await mailbox.rows("select kind, body, method, target, provider_key from inbound_events") == [
            {
                "kind": "message",
                "body": body,
                "method": "POST",
                "target": f"/in/mailgun/{mailbox.account.id}",
                "provider_key": "a",
            }
        ]
        events = await mailbox.rows("select distinct inbound_event_id from messages")
        assert len(events) == 1

    async def test_a_post_of_messages_and_statuses_is_kept_for_each_kind(self, mailbox: Mailbox):
        await mailbox.receive(mailbox.post(), "first")
        (message_id,) = await make_outbound(mailbox.runtime, mailbox.account)
        post = mailbox.post(b"both")
        update = StatusUpdate("m1", MessageStatus.DELIVERED, message_id)

        await mailbox.receive(post, "second")
        await accept_statuses(mailbox.runtime, [status_item(mailbox.runtime, post, update)])

        rows = await mailbox.rows("select kind from inbound_events where body = 'both' order by kind")
        assert [row["kind"] for row in rows] == ["message", "status"]

    async def test_posts_of_one_flush_keep_their_own_bodies(self, mailbox: Mailbox):
        items = [
            message_item(mailbox.runtime, mailbox.post(b"body of " + key.encode()), mailbox.mail(key), 4.0)
            for key in ("a", "b", "a", "c")
        ]

        await accept_messages(mailbox.runtime, items)

        rows = await mailbox.rows("select provider_key, body from inbound_events order by provider_key")
        assert [tuple(row.values()) for row in rows] == [
            ("a", b"body of a"), ("b", b"body of b"), ("c", b"body of c"),
        ]  # fmt: skip

    async def test_a_mail_of_35_megabytes_goes_through_the_acceptor(self, mailbox: Mailbox):
        acceptor = Acceptor(mailbox.runtime, Notifier(mailbox.runtime.database))
        large = mailbox.post(b"\xff" * 35 * 2**20)
        items = [message_item(mailbox.runtime, large, mailbox.mail("large"), 4.0)]
        items += [accepted_item(mailbox.runtime, mailbox.account, mailbox.mail(str(n))) for n in range(5)]

        await asyncio.gather(*map(acceptor.accept_message, items))

        rows = await mailbox.rows(
            "select max(length(body)) as longest, count(*) as posts from inbound_events"
        )
        assert rows == [{"longest": 35 * 2**20, "posts": 6}]


@pytest.mark.parametrize("key", ["k" * 5_000, "ñ" * 513], ids=["long", "of-wide-letters"])
async def test_a_name_that_no_index_takes_is_known_again(mailbox: Mailbox, key: str):
    post = mailbox.post(token=key)

    assert await mailbox.receive(post, key) == [(False, False)]
    assert await mailbox.receive(post, key) == [(True, False)]

    update = StatusUpdate(key, MessageStatus.DELIVERED)
    (answer,) = await accept_statuses(mailbox.runtime, [status_item(mailbox.runtime, post, update)])
    assert (answer.message_id, answer.duplicate) == (None, False)


class TestOneTimeTokens:
    @pytest.mark.parametrize(
        ("key", "body", "expected"),
        [("a", b"Body=x", (True, False)), ("b", b"other", (False, True)), ("a", b"other", (False, True))],
        ids=["same-body", "other-body", "same-message-other-body"],
    )
    async def test_a_token_is_good_for_one_body(
        self, mailbox: Mailbox, key: str, body: bytes, expected: tuple[bool, bool]
    ):
        assert await mailbox.receive(mailbox.post(token="t1"), "a") == [(False, False)]

        assert await mailbox.receive(mailbox.post(body, "t1"), key) == [expected]

        assert await mailbox.rows("select count(*) as kept from messages") == [{"kept": 1}]
        assert await mailbox.rows("select count(*) as kept from inbound_events") == [{"kept": 1}]
        assert await mailbox.rows(
            "select digest from external_message_mappings where provider_key = 'token:t1'"
        ) == [{"digest": hashlib.sha256(b"Body=x").digest()}]

    async def test_one_flush_takes_each_token_for_its_first_body(self, mailbox: Mailbox):
        posts = [("t1", b"one"), ("t2", b"two"), ("t1", b"other"), (None, b"none"), ("t2", b"two")]
        items = [
            message_item(mailbox.runtime, mailbox.post(body, token), mailbox.mail(f"k{place}"), 4.0)
            for place, (token, body) in enumerate(posts)
        ]

        answers = await accept_messages(mailbox.runtime, items)

        assert [answer.token_reused for answer in answers] == [False, False, True, False, False]
        rows = await mailbox.rows("select id, provider_message_id as key from messages")
        ids = {row["key"]: row["id"] for row in rows}
        assert [answer.message_id for answer in answers] == [
            ids["k0"], ids["k1"], None, ids["k3"], ids["k4"],
        ]  # fmt: skip

    async def test_parallel_posts_of_one_token_store_one_body(self, mailbox: Mailbox):
        answers = await asyncio.gather(
            *(
                mailbox.receive(mailbox.post(b"%d" % (place % 4), "t1"), f"k{place % 4}")
                for place in range(40)
            )
        )

        assert sum(reused for ((_, reused),) in answers) == 30
        assert sum(duplicate for ((duplicate, _),) in answers) == 9
        assert await mailbox.rows("select count(*) as kept from messages") == [{"kept": 1}]

    async def test_what_could_not_be_stored_leaves_its_token(self, mailbox: Mailbox):
        (item,) = [message_item(mailbox.runtime, mailbox.post(token="t1"), mailbox.mail("a"), 4.0)]
        with pytest.raises(Exception, match="type"):
            await accept_messages(mailbox.runtime, [{**item, "type": "NOTHING"}])

        assert await mailbox.receive(mailbox.post(b"other", "t1"), "a") == [(False, False)]

    async def test_a_token_is_one_accounts(self, mailbox: Mailbox):
        other = await make_account(
            mailbox.runtime, mailbox.account.distributor_id, Channel.EMAIL, "b@shop.test"
        )
        await mailbox.receive(mailbox.post(token="t1"), "a")

        assert await Mailbox(mailbox.runtime, other).receive(mailbox.post(b"x", "t1"), "b") == [(False, True)]
        theirs = Mailbox(mailbox.runtime, other)
        assert await theirs.receive(theirs.post(b"x", "t1"), "b") == [(False, False)]

    @pytest.mark.parametrize("kind", ["status", "consent", "deferred"])
    async def test_every_kind_of_item_takes_its_token(self, mailbox: Mailbox, kind: str):
        runtime = mailbox.runtime
        await mailbox.receive(mailbox.post(), "first")
        (message_id,) = await make_outbound(runtime, mailbox.account)

        async def accept(body: bytes, key: str) -> Any:
            post = mailbox.post(body, "t1")
            if kind == "status":
                update = StatusUpdate(key, MessageStatus.DELIVERED, message_id)
                return (await accept_statuses(runtime, [status_item(runtime, post, update)]))[0]
            if kind == "consent":
                word = mailbox.word(OUT, key=key)
                return (await accept_consents(runtime, [consent_item(runtime, post, word)]))[0]
            return (await accept_deferred(runtime, [deferred_item(runtime, post, DeferredPost(key))]))[0]

        first, again, other = [await accept(*said) for said in ((b"1", "a"), (b"1", "a"), (b"2", "b"))]

        assert (first.duplicate, first.token_reused) == (False, False)
        assert (again.duplicate, again.token_reused) == (True, False)
        assert (other.duplicate, other.token_reused) == (False, True)
        rows = await mailbox.rows(f"select body from inbound_events where kind = '{kind}'")
        assert [row["body"] for row in rows] == [b"1"]


class TestWordsAboutAddresses:
    @pytest.mark.parametrize("reason", [BOUNCE, SuppressionReason.COMPLAINT, SuppressionReason.UNSUBSCRIBE])
    async def test_an_address_is_silenced_with_its_reason_and_told_once(
        self, mailbox: Mailbox, reason: SuppressionReason
    ):
        await mailbox.receive(mailbox.post(), "a")

        assert await mailbox.hear(mailbox.word(OUT, 5, reason=reason)) == [False]
        assert await mailbox.hear(mailbox.word(OUT, 5, reason=reason)) == [True]

        out_at, kept_reason, customer = await mailbox.contact()
        assert (out_at, kept_reason) == (mailbox.runtime.clock() - timedelta(seconds=5), reason)
        (event,) = await mailbox.rows(
            "select body -> 'data' as data from webhook_events where type = 'customer.opted_out'"
        )
        assert event["data"]["address"] == ADDRESS
        assert event["data"]["customer_id"] == str(customer)
        assert await mailbox.told() == ["opted_out"]

    @pytest.mark.parametrize(
        ("words", "is_out", "told"),
        [
            ([(OUT, 5), (IN, 1)], False, ["opted_out", "opted_in"]),
            ([(IN, 1), (OUT, 5)], False, []),
            ([(OUT, 5), (IN, 9)], True, ["opted_out"]),
            ([(OUT, 5), (OUT, 1)], True, ["opted_out"]),
            ([(IN, 5)], False, []),
        ],
        ids=["newer-in", "older-out", "older-in", "twice", "in-alone"],
    )
    async def test_the_newest_word_wins(
        self, mailbox: Mailbox, words: list[tuple[ConsentChange, float]], is_out: bool, told: list[str]
    ):
        await mailbox.receive(mailbox.post(), "a")

        for place, (change, age) in enumerate(words):
            await mailbox.hear(mailbox.word(change, age, f"e{place}"))

        out_at, reason, _ = await mailbox.contact()
        assert (out_at is not None, reason is not None) == (is_out, is_out)
        assert await mailbox.told() == told

    async def test_the_newest_word_of_one_flush_wins(self, mailbox: Mailbox):
        words = [mailbox.word(IN, 1, "e1"), mailbox.word(OUT, 5, "e2"), mailbox.word(IN, 1, "e1")]

        assert await mailbox.hear(mailbox.word(OUT, 9, "e0")) == [False]
        assert await mailbox.hear(*words) == [False, False, True]

        assert (await mailbox.contact())[0] is None

    async def test_a_clock_that_is_ahead_does_not_outlast_newer_words(
        self, mailbox: Mailbox, clock: FakeClock
    ):
        await mailbox.hear(mailbox.word(OUT, -3600))
        clock.advance(60)

        await mailbox.receive(mailbox.post(), "a", text="START")

        assert (await mailbox.contact())[0] is None

    async def test_an_address_of_nobody_is_silenced_and_stays_so_when_it_writes(self, mailbox: Mailbox):
        await mailbox.hear(mailbox.word(OUT))
        assert (await mailbox.contact())[2] is None
        assert await mailbox.rows("select count(*) as made from customers") == [{"made": 0}]
        assert await mailbox.told() == ["opted_out"]

        await mailbox.receive(mailbox.post(), "a", profile_name="Anna")

        out_at, reason, customer = await mailbox.contact()
        assert (out_at, reason) == (mailbox.runtime.clock(), "bounce")
        (made,) = await mailbox.rows("select id, business_name from customers")
        assert tuple(made.values()) == (customer, "Anna")
        created = await mailbox.rows("select 1 from webhook_events where type = 'customer.created'")
        assert len(created) == 1

    async def test_parallel_first_words_and_first_mails_are_one_contact(self, mailbox: Mailbox):
        await asyncio.gather(
            *(mailbox.hear(mailbox.word(OUT, key=f"e{n}")) for n in range(10)),
            *(mailbox.receive(mailbox.post(), f"k{n}") for n in range(10)),
        )

        out_at, _, customer = await mailbox.contact()
        assert out_at is not None
        assert customer is not None
        assert await mailbox.told() == ["opted_out"]

    @pytest.mark.parametrize(
        ("fields", "reason"), [({}, "keyword"), ({"consent": OUT}, "provider")], ids=["word", "provider"]
    )
    async def test_a_word_in_a_message_has_its_reason_too(
        self, mailbox: Mailbox, fields: dict[str, Any], reason: str
    ):
        await mailbox.receive(mailbox.post(), "a", text="STOP", **fields)
        assert (await mailbox.contact())[1] == reason

        await mailbox.receive(mailbox.post(), "b", text="START")
        assert (await mailbox.contact())[:2] == (None, None)


class TestDeferredPosts:
    async def test_a_post_that_only_tells_of_something_is_due_at_once_and_once(self, mailbox: Mailbox):
        items = [
            deferred_item(mailbox.runtime, mailbox.post(b"hint"), DeferredPost(key))
            for key in ("a", "b", "a")
        ]

        answers = await accept_deferred(mailbox.runtime, items)
        again = await accept_deferred(mailbox.runtime, items[:1])

        assert [answer.duplicate for answer in (*answers, *again)] == [False, False, True, True]
        rows = await mailbox.rows(
            "select kind, body, fetch_due_at, provider_key from inbound_events order by 4"
        )
        now = mailbox.runtime.clock()
        assert [tuple(row.values()) for row in rows] == [
            ("deferred", b"hint", now, "deferred:a"), ("deferred", b"hint", now, "deferred:b"),
        ]  # fmt: skip

    async def test_a_mail_with_the_key_of_its_hint_is_no_duplicate(self, mailbox: Mailbox):
        item = deferred_item(mailbox.runtime, mailbox.post(), DeferredPost("a"))
        await accept_deferred(mailbox.runtime, [item])

        assert await mailbox.receive(mailbox.post(), "a") == [(False, False)]


async def test_files_of_a_message_are_to_be_fetched_at_once(mailbox: Mailbox):
    files = (
        Attachment("part:0", "image/png", "logo.png", content_id="logo@x"),
        Attachment("https://files.test/1", "application/pdf"),
    )

    await mailbox.receive(mailbox.post(), "a", attachments=files)

    (event,) = await mailbox.rows("select id from inbound_events")
    now = mailbox.runtime.clock()
    rows = await mailbox.rows(
        "select url, content_id, inbound_event_id, state, fetch_due_at from attachments order by position"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("part:0", "logo@x", event["id"], "PENDING", now),
        ("https://files.test/1", None, event["id"], "PENDING", now),
    ]


SKIPPED = {
    "automated": ({"automated": "auto-submitted", "text": "2 cajas"}, "automated"),
    "automated word": ({"automated": "auto-submitted", "text": "STOP"}, "automated"),
    "automated, told by the provider": ({"automated": "bulk", "text": "x", "consent": OUT}, "opt_out"),
    "reaction": ({"type": MessageType.REACTION, "text": "👍"}, "reaction"),
    "edit": ({"metadata": {"provider_kind": "edit"}, "text": "3 cajas"}, "edited"),
    "revoke": ({"metadata": {"provider_kind": "revoke"}, "text": ""}, "revoked"),
    "system": ({"metadata": {"provider_kind": "system"}, "text": ""}, "system"),
    "another kind": ({"metadata": {"provider_kind": "text"}, "text": "3 cajas"}, None),
}


@pytest.mark.parametrize(("fields", "reason"), SKIPPED.values(), ids=SKIPPED)
async def test_what_is_not_understood_by_itself_makes_no_turn(
    mailbox: Mailbox, fields: dict[str, Any], reason: str | None
):
    await mailbox.receive(mailbox.post(), "a", **fields)

    (message,) = await mailbox.rows("select ai_skip_reason, ai_processed from messages")
    (conversation,) = await mailbox.rows("select turn_due_at is not null as due from conversations")
    assert tuple(message.values()) == (reason, reason is not None)
    assert conversation["due"] is (reason is None)
