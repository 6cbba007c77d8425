"""What leaves in several messages of the provider: in order, each once, whatever happens between two of them; templates."""

from typing import Any
from uuid import UUID

import pytest

from channels.base import (
    Attachment,
    Channel,
    ChannelAccount,
    MessageStatus,
    OutboundMessage,
    OutboundTemplate,
    ReplyButton,
    SendReceipt,
    StatusUpdate,
)
from channels.errors import InvalidInput, InvalidRecipient, OptedOut, OutcomeUnknown, ProviderUnavailable
from handlers.inbound import accept_statuses, status_item
from handlers.outbound import send_message
from handlers.outbound_outcome import SendResult
from handlers.outbound_parts import split_message
from handlers.runtime import Runtime
from tests.factories import posted
from tests.fakes import FakeAdapter, FakeClock
from tests.integration.test_outbound import Desk, open_desk

TEXT = "one two three four"
UUID_1 = UUID(int=1)
PARTS = ["one ", "two ", "three ", "four"]
TEMPLATE = OutboundTemplate(
    "order_ready", "es", "HX" + "ab" * 16, {"b": "Ana", "a": "20", "10": "x", "9": "y"}
)


class WordByWord(FakeAdapter):
    """Takes a text of one word and one file, and dies where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at: int | None = None

    def split_text(self, channel: Channel, text: str) -> tuple[str, ...]:
        words = text.split(" ")
        return (*(f"{word} " for word in words[:-1]), words[-1])

    def files_at_once(self, channel: Channel) -> int:
        return 1

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        receipt = await super().send(account, message)
        if message.part == self.dies_at:
            self.dies_at = None
            raise KeyboardInterrupt
        return receipt


@pytest.fixture
async def desk(runtime: Runtime) -> Desk:
    desk = await open_desk(runtime)
    desk.provider = WordByWord()
    return desk


def texts(desk: Desk) -> list[str]:
    return [sent.text for sent in desk.provider.sent]


async def receipts(desk: Desk) -> list[tuple[Any, ...]]:
    rows = await desk.rows(
        "select part, provider_message_id, status from message_status_events where provider_message_id is not null order by id"
    )
    return [tuple(row.values()) for row in rows]


async def test_the_parts_leave_in_order_and_each_one_s_id_is_kept(desk: Desk):
    message_id = await desk.queue(TEXT)

    assert await desk.send() == [SendResult.SENT]
    assert await desk.send() == []

    row = await desk.outbound()
    assert texts(desk) == PARTS
    assert [(sent.id, sent.part, sent.parts) for sent in desk.provider.sent] == [
        (message_id, number, 4) for number in (1, 2, 3, 4)
    ]
    assert (row["status"], row["parts"], row["provider_message_id"]) == ("SENT", 4, "SM1")
    assert await receipts(desk) == [(number, f"SM{number}", "SENT") for number in (1, 2, 3, 4)]
    mapped = await desk.rows(
        "select provider_key, message_id from external_message_mappings where provider_key like 'sent:%' order by 1"
    )
    assert [tuple(row.values()) for row in mapped] == [
        (f"sent:SM{number}", message_id) for number in (1, 2, 3, 4)
    ]
    assert await desk.events() == ["message.received", "message.sent"]


async def test_a_message_that_fits_is_of_no_parts(desk: Desk):
    await desk.queue("one")
    await desk.send()

    assert (await desk.outbound())["parts"] == 1
    assert await receipts(desk) == [(None, "SM1", "SENT")]


@pytest.mark.parametrize("part", [1, 2, 3, 4])
async def test_a_part_of_unknown_outcome_is_looked_up_and_the_rest_follows(
    desk: Desk, clock: FakeClock, part: int
):
    await desk.queue(TEXT)
    desk.provider.script = [None] * (part - 1) + [OutcomeUnknown()]

    assert await desk.send() == [SendResult.POSTPONED]
    assert (await desk.outbound())["status"] == "SENDING"
    assert len(texts(desk)) == part
    clock.advance(2)
    assert await desk.send() == [SendResult.SENT]

    assert texts(desk) == PARTS
    assert desk.provider.lookups == [frozenset(f"SM{number}" for number in range(1, part))]
    assert {row[:2] for row in await receipts(desk)} == {(number, f"SM{number}") for number in (1, 2, 3, 4)}


@pytest.mark.parametrize("part", [1, 2, 3, 4])
async def test_a_worker_that_dies_behind_a_part_loses_and_doubles_nothing(
    desk: Desk, clock: FakeClock, part: int
):
    await desk.queue(TEXT)
    (dead,) = await desk.claim()
    desk.provider.dies_at = part  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        await send_message(desk.runtime, {"twilio": desk.provider}, dead)  # type: ignore[dict-item]
    assert await desk.send() == []
    clock.advance(21)

    assert await desk.send() == [SendResult.SENT]
    assert texts(desk) == PARTS


@pytest.mark.parametrize("part", [1, 2, 3, 4])
async def test_a_part_that_was_not_taken_is_sent_again_without_asking(
    desk: Desk, clock: FakeClock, part: int
):
    await desk.queue(TEXT)
    desk.provider.script = [None] * (part - 1) + [ProviderUnavailable()]

    assert await desk.send() == [SendResult.POSTPONED]
    clock.advance(2)
    assert await desk.send() == [SendResult.SENT]

    assert texts(desk) == PARTS
    assert desk.provider.lookups == []


async def test_parts_of_the_same_words_are_told_apart(desk: Desk, clock: FakeClock):
    await desk.queue("no no no x")
    desk.provider.script = [None, OutcomeUnknown()]
    await desk.send()
    clock.advance(2)

    assert await desk.send() == [SendResult.SENT]
    assert texts(desk) == ["no ", "no ", "no ", "x"]
    assert [row[1] for row in await receipts(desk)] == ["SM1", "SM2", "SM3", "SM4"]


async def test_another_message_s_parts_are_not_taken_for_ours(desk: Desk, clock: FakeClock):
    await desk.queue("si no")
    await desk.send()
    await desk.queue("no no")
    desk.provider.script = [OutcomeUnknown()]
    await desk.send()
    clock.advance(2)

    assert await desk.send() == [SendResult.SENT]
    assert desk.provider.lookups == [frozenset({"SM1", "SM2"})]
    assert texts(desk) == ["si ", "no", "no ", "no"]


async def test_a_part_that_is_refused_ends_the_message_and_says_which_it_was(desk: Desk):
    await desk.queue(TEXT)
    desk.provider.script = [None, InvalidRecipient(provider_code="21211")]

    assert await desk.send() == [SendResult.FAILED]
    assert await desk.send() == []

    assert texts(desk) == PARTS[:1]
    failed = await desk.rows("select part from message_status_events where status = 'FAILED'")
    assert failed == [{"part": 2}]
    assert (await desk.outbound())["status"] == "FAILED"


async def test_a_stop_between_two_parts_is_respected(desk: Desk):
    await desk.queue(TEXT)

    class Stops(WordByWord):
        async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
            await desk.rows("update customer_contacts set opted_out_at = now() returning 1")
            return await super().send(account, message)

    desk.provider = Stops()

    assert await desk.send() == [SendResult.FAILED]
    assert texts(desk) == PARTS[:1]


async def test_the_lease_is_renewed_before_each_part(desk: Desk, clock: FakeClock):
    """Four parts that take 15 seconds each; a lease is for 20."""
    await desk.queue(TEXT)
    others: list[Any] = []

    class Slow(WordByWord):
        async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
            clock.advance(15)
            others.extend(await desk.claim())
            return await super().send(account, message)

    desk.provider = Slow()

    assert await desk.send() == [SendResult.SENT]
    assert others == []
    assert texts(desk) == PARTS


async def test_a_message_that_a_callback_settled_is_left_alone(desk: Desk, clock: FakeClock):
    """While an earlier attempt is asked after, its callback comes: nothing is queued anew."""
    await desk.queue("one")
    desk.provider.script = [OutcomeUnknown()]
    await desk.send()
    clock.advance(2)

    class Settles(WordByWord):
        async def find_sent(self, *arguments: Any) -> SendReceipt | None:
            await desk.rows(
                "update messages set send_due_at = null, send_started_at = null where direction = 'OUTBOUND' returning 1"
            )
            return None

    desk.provider = Settles()

    assert await desk.send() == [SendResult.LOST]
    clock.advance(1000)
    assert await desk.send() == []
    assert texts(desk) == []


async def test_what_ten_parts_hold_is_taken_and_more_is_refused_at_once(desk: Desk):
    await desk.queue(" ".join(["x"] * 10))
    with pytest.raises(InvalidInput, match="11 parts") as caught:
        await desk.queue(" ".join(["x"] * 11))

    assert caught.value.field == "text"


# files


def kinds(parts: tuple[OutboundMessage, ...]) -> list[tuple[str, list[str]]]:
    return [(part.text, [file.content_type for file in part.attachments]) for part in parts]


@pytest.mark.parametrize(
    ("text", "types", "expected"),
    [
        ("hola", [], [("hola", [])]),
        ("", ["image/png"], [("", ["image/png"])]),
        ("a   b", [], [("a ", []), ("b", [])]),  # no message of blanks
        ("  ", ["image/png"], [(" ", ["image/png"])]),
        ("hola", ["image/png"], [("hola", ["image/png"])]),
        ("hola", ["application/pdf"], [("hola", ["application/pdf"])]),
        ("hola", ["audio/ogg"], [("hola", []), ("", ["audio/ogg"])]),
        ("hola", ["image/webp"], [("hola", []), ("", ["image/webp"])]),
        ("", ["audio/ogg", "image/png"], [("", ["audio/ogg"]), ("", ["image/png"])]),
        ("a b", ["image/png", "audio/ogg"], [("a ", ["image/png"]), ("b", []), ("", ["audio/ogg"])]),
    ],
)
def test_a_text_and_files_in_the_messages_that_carry_them(text: str, types: list[str], expected: Any):
    files = tuple(Attachment("https://x.test/f", kind) for kind in types)
    message = OutboundMessage(UUID_1, Channel.WHATSAPP, "+1", text, "", files)

    parts = split_message(WordByWord(), message)

    assert kinds(parts) == expected
    assert [(part.part, part.parts) for part in parts] == [(n, len(parts)) for n in range(1, len(parts) + 1)]


@pytest.mark.parametrize("adapter", [FakeAdapter(), None])
def test_a_provider_that_says_nothing_takes_all_at_once(adapter: Any):
    files = tuple(Attachment("https://x.test/f", kind) for kind in ("audio/ogg", "image/png"))
    message = OutboundMessage(UUID_1, Channel.EMAIL, "a@x.test", "a b", "", files)

    assert split_message(adapter, message) == (message,)


# templates


async def test_a_template_leaves_outside_the_window_and_whole(desk: Desk, clock: FakeClock):
    clock.advance(25 * 3600)
    await desk.queue(TEXT, template=TEMPLATE)

    assert await desk.send() == [SendResult.SENT]

    (sent,) = desk.provider.sent
    row = await desk.outbound()
    assert sent.template == TEMPLATE
    assert list(sent.template.variables) == ["b", "a", "10", "9"]  # the template's order
    assert (row["type"], row["text"], row["parts"]) == ("TEMPLATE", TEXT, 1)
    assert row["metadata"]["template"]["name"] == "order_ready"


async def test_a_template_does_not_pass_a_stop(desk: Desk):
    await desk.queue(TEXT, template=TEMPLATE)
    await desk.rows("update customer_contacts set opted_out_at = now() returning 1")

    assert await desk.send() == [SendResult.FAILED]
    with pytest.raises(OptedOut):
        await desk.queue(TEXT, template=TEMPLATE)


async def test_files_of_ours_are_not_fetched(desk: Desk):
    await desk.queue("hola", attachments=[Attachment("https://x.test/a.pdf", "application/pdf")])

    assert await desk.rows("select state, fetch_due_at from attachments") == [
        {"state": "LINKED", "fetch_due_at": None}
    ]


# what callbacks tell meanwhile


class Telling(WordByWord):
    """Its callbacks of a part come before its receipt, and before the next part leaves."""

    def __init__(self, runtime: Runtime, *told: MessageStatus) -> None:
        super().__init__()
        self.runtime = runtime
        self.told = told

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        receipt = await super().send(account, message)
        for status in self.told:
            await self.tell(account, message, receipt, status)
        return receipt

    async def tell(
        self, account: ChannelAccount, message: OutboundMessage, receipt: SendReceipt, status: MessageStatus
    ) -> None:
        update = StatusUpdate(
            receipt.provider_message_id,
            status,
            message_id=message.id,
            provider_status=status.lower(),
            part=message.part,
        )
        post = posted(self.runtime, account)
        await accept_statuses(self.runtime, [status_item(self.runtime, post, update)])


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ([MessageStatus.SENT], "SENT"),
        ([MessageStatus.SENT, MessageStatus.DELIVERED], "DELIVERED"),
        ([MessageStatus.READ], "READ"),
    ],
)
async def test_callbacks_between_two_parts_stop_none(desk: Desk, told: list[MessageStatus], status: str):
    desk.provider = Telling(desk.runtime, *told)
    await desk.queue(TEXT)

    assert await desk.send() == [SendResult.SENT]

    assert texts(desk) == PARTS
    row = await desk.outbound()
    assert (row["status"], row["send_due_at"]) == (status, None)
    assert (await desk.events()).count("message.sent") == 1


@pytest.mark.parametrize("part", [1, 2, 3])
async def test_a_worker_that_dies_behind_callbacks_sends_what_is_missing_only(
    desk: Desk, clock: FakeClock, part: int
):
    """The callback is proof enough: the provider is asked for nothing but what it did not tell of."""
    desk.provider = Telling(desk.runtime, MessageStatus.DELIVERED)
    await desk.queue(TEXT)
    (dead,) = await desk.claim()

    class Dies(Telling):
        async def tell(self, account: Any, message: OutboundMessage, *rest: Any) -> None:
            await super().tell(account, message, *rest)
            if message.part == part:
                raise KeyboardInterrupt

    desk.provider = Dies(desk.runtime, MessageStatus.DELIVERED)
    with pytest.raises(KeyboardInterrupt):
        await send_message(desk.runtime, {"twilio": desk.provider}, dead)  # type: ignore[dict-item]
    kept, desk.provider = desk.provider.sent, Telling(desk.runtime, MessageStatus.DELIVERED)
    desk.provider.sent = kept
    clock.advance(21)

    assert await desk.send() == [SendResult.SENT]
    assert texts(desk) == PARTS
    assert (await desk.outbound())["status"] == "DELIVERED"


async def test_a_part_that_failed_stops_the_rest(desk: Desk):
    desk.provider = Telling(desk.runtime, MessageStatus.FAILED)
    await desk.queue(TEXT)

    assert await desk.send() == [SendResult.LOST]
    assert await desk.send() == []
    assert texts(desk) == PARTS[:1]
    assert (await desk.outbound())["status"] == "FAILED"


@pytest.mark.parametrize(("length", "files"), [(8, [1]), (9, [0, 1])], ids=["as-long-as-a-caption", "longer"])
async def test_a_text_longer_than_a_caption_leaves_before_its_file(desk: Desk, length: int, files: list[int]):
    class Captioned(FakeAdapter):
        def longest_caption(self, channel: Channel) -> int:
            return 8

    desk.provider = Captioned()
    await desk.queue("x" * length, attachments=[Attachment("https://x.test/a.jpg", "image/jpeg")])
    await desk.send()

    assert [len(sent.attachments) for sent in desk.provider.sent] == files
    assert "".join(texts(desk)) == "x" * length


BUTTONS = (ReplyButton("yes", "Sí"), ReplyButton("no", "Cambiar algo"))


class WithButtons(FakeAdapter):
    """Shows them under short texts."""

    def takes_buttons(self, message: OutboundMessage) -> bool:
        return len(message.text) < 20


@pytest.mark.parametrize(
    ("provider", "text", "sent", "shown"),
    [
        (FakeAdapter(), "¿Confirmas?", "¿Confirmas?\n\n• Sí\n• Cambiar algo", ()),
        (WithButtons(), "¿Confirmas?", "¿Confirmas?", BUTTONS),
        (
            WithButtons(),
            "¿Confirmas el pedido entero?",
            "¿Confirmas el pedido entero?\n\n• Sí\n• Cambiar algo",
            (),
        ),
    ],
    ids=["no-buttons-there", "under-the-text", "not-under-this-text"],
)
async def test_buttons_are_shown_or_told(desk: Desk, provider: FakeAdapter, text: str, sent: str, shown: Any):
    desk.provider = provider
    await desk.queue(text, buttons=BUTTONS)

    assert await desk.send() == [SendResult.SENT]

    (message,) = provider.sent
    assert (message.text, message.buttons) == (sent, shown)
