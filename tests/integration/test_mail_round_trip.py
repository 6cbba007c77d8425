"""Our mails in their threads, and the answers to them: from the customer's order to their yes, by every mark alone."""

import email
from typing import Any

import pytest

from channels.base import Attachment
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    NotThere,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.mail_tokens import our_message_id
from handlers.outbound import queue_message, send_message
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from tests.fakes import FakeClock
from tests.integration.mail_desk import (
    OWN,
    ROSA,
    MailDesk,
    answer_to,
    customer_mail,
    open_mail_desk,
    token_of,
)
from tests.integration.test_outbound import open_desk
from tests.media_stage import ScriptedDownloads

PROGRAMS = ("gmail", "outlook", "apple")
PDF = Attachment("https://files.example/lista.pdf", "application/pdf", "lista.pdf")


@pytest.fixture
async def desk(runtime: Runtime) -> MailDesk:
    return await open_mail_desk(runtime)


async def order_and_reply(desk: MailDesk, clock: FakeClock, **mail: Any) -> bytes:
    """A customer's order and our answer as it leaves."""
    await desk.receive(customer_mail(**mail))
    return await reply(desk, clock)


async def reply(desk: MailDesk, clock: FakeClock) -> bytes:
    clock.advance(5)
    await desk.turn()
    assert await desk.send() == [SendResult.SENT]
    return desk.provider.raw[-1]


async def by_hand(desk: MailDesk, text: str = "va en camino", *files: Attachment) -> None:
    (row,) = await desk.rows("select id from conversations")
    adapters: Any = {"twilio": desk.provider}
    await queue_message(desk.runtime, adapters, desk.tenant, row["id"], text=text, attachments=files)


async def test_a_reply_of_a_turn_is_in_its_thread(desk: MailDesk, clock: FakeClock):
    await order_and_reply(desk, clock, References="<root@tienda-rosa.example>")

    token, (sent,) = await token_of(desk), desk.provider.sent
    (row,) = await desk.rows("select id, mail_message_id from messages where direction = 'OUTBOUND'")
    assert sent.mail is not None
    assert sent.mail.subject == "Re: Pedido de la semana"
    assert (
        sent.mail.message_id
        == row["mail_message_id"]
        == our_message_id(token, row["id"].hex, "bebidas.example")
    )
    assert sent.mail.reply_to == f"pedidos+{token}@bebidas.example"
    assert sent.mail.in_reply_to == "first@tienda-rosa.example"
    assert sent.mail.references == ("first@tienda-rosa.example",)
    assert sent.mail.automatic
    assert sent.recipient == ROSA
    assert sent.text.endswith(f"\n\n[ref:{token}]")
    (stored,) = await desk.replies()
    assert "[ref:" not in stored  # people read what was said, not how it finds back


async def test_what_a_person_writes_is_not_called_automatic_and_goes_on_with_the_thread(
    desk: MailDesk, clock: FakeClock
):
    ours = await order_and_reply(desk, clock)
    clock.advance(60)
    await desk.receive(answer_to(ours, "apple"))
    await reply(desk, clock)
    clock.advance(60)
    await by_hand(desk)

    assert await desk.send() == [SendResult.SENT]

    first, second, third = (sent.mail for sent in desk.provider.sent)
    assert first
    assert second
    assert third
    assert (second.automatic, third.automatic) == (True, False)
    line = (
        "first@tienda-rosa.example",
        first.message_id,
        second.message_id,
        "7C1F-reply-apple@tienda-rosa.example",
    )
    assert third.in_reply_to == "7C1F-reply-apple@tienda-rosa.example"
    assert third.references == line
    assert b"Auto-Submitted" not in desk.provider.raw[-1]


async def test_long_ids_leave_as_they_are(desk: MailDesk, clock: FakeClock):
    """Python's library would encode them, and nobody would know them again."""
    root, parent = f"{'r' * 90}@tienda-rosa.example", f"{'p' * 90}@tienda-rosa.example"
    await desk.receive(customer_mail("hola", "root@x.example"))
    raw = customer_mail("hola", "x@x.example").replace(b"<x@x.example>", f"<{parent}>".encode())
    await desk.receive(
        raw.replace(b"Subject:", f"References: <{root}> <root@x.example>\r\nSubject:".encode())
    )

    mail = (await reply(desk, clock)).replace(b"\r\n ", b" ")

    assert f"In-Reply-To: <{parent}>\r\n".encode() in mail
    assert f"References: <root@x.example> <{parent}>\r\n".encode() in mail


async def test_encoded_ids_are_read_all_the_same(desk: MailDesk, clock: FakeClock):
    ours = await order_and_reply(desk, clock)
    own_id = email.message_from_bytes(ours)["Message-ID"]
    raw = customer_mail("sí", "b@x.example", In_Reply_To=own_id)
    assert b"In-Reply-To: =?utf-8?q?" in raw

    await desk.receive(raw)

    assert await desk.conversations() == [2]


@pytest.mark.parametrize(("subject", "written"), [
    ("Pedido", "Re: Pedido"),
    ("RE: Fwd: Pedido", "Re: Pedido"),
    ("", "Tu mensaje a Bebidas del Valle"),
    ("Re:", "Tu mensaje a Bebidas del Valle"),
], ids=["plain", "prefixes", "none", "prefix-alone"])  # fmt: skip
async def test_the_subject_is_the_threads(desk: MailDesk, clock: FakeClock, subject: str, written: str):
    await order_and_reply(desk, clock, subject=subject)

    (sent,) = desk.provider.sent
    assert sent.mail
    assert sent.mail.subject == written


@pytest.mark.parametrize(
    ("address", "settings"),
    [(OWN, {"plus_addressing": False}), (f"{'p' * 40}@bebidas.example", {})],
    ids=["by-setting", "too-long"],
)
async def test_there_may_be_no_plus_address(
    runtime: Runtime, clock: FakeClock, address: str, settings: dict[str, Any]
):
    desk = await open_mail_desk(runtime, address)
    async with runtime.database.tenant(desk.tenant) as connection:
        await connection.execute("update channel_accounts set settings = $1", settings)

    ours = await order_and_reply(desk, clock)

    (sent,) = desk.provider.sent
    assert sent.mail
    assert sent.mail.reply_to is None
    await desk.receive(answer_to(ours, "gmail"))
    assert await desk.conversations() == [2]


async def test_a_second_try_is_the_same_mail_whatever_came_between(desk: MailDesk, clock: FakeClock):
    await desk.receive(customer_mail())
    clock.advance(5)
    await desk.turn()
    desk.provider.script = [ProviderUnavailable()]
    assert await desk.send() == [SendResult.POSTPONED]
    clock.advance(60)
    await desk.receive(
        customer_mail("y otra cosa", "second@x.example", References="<first@tienda-rosa.example>")
    )

    assert await desk.send() == [SendResult.SENT]

    first, second = desk.provider.sent
    assert first == second
    assert await desk.conversations() == [2]


async def test_a_long_thread_is_named_by_its_first_mail_and_the_latest(desk: MailDesk, clock: FakeClock):
    await desk.receive(customer_mail("hola", "m0@x.example"))
    for number in range(1, 30):
        clock.advance(1)
        await desk.receive(customer_mail("hola", f"m{number}@x.example", References="<m0@x.example>"))

    await reply(desk, clock)

    (sent,) = desk.provider.sent
    assert sent.mail
    assert sent.mail.references == ("m0@x.example", *(f"m{number}@x.example" for number in range(11, 30)))


MARKS: dict[str, frozenset[str]] = {
    "plus-address": frozenset({"plus"}),
    "in-reply-to": frozenset({"parent"}),
    "references": frozenset({"line"}),
    "body-marker": frozenset({"mark"}),
    "all": frozenset({"plus", "parent", "line", "mark"}),
}


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_an_answer_comes_to_its_conversation_by_each_mark_alone_and_confirms_the_order(
    desk: MailDesk, clock: FakeClock, program: str, marks: frozenset[str]
):
    ours = await order_and_reply(desk, clock)

    answer = await desk.receive(answer_to(ours, program, marks))

    assert answer.text == "sí, confirmo"
    assert answer.automated is None
    assert await desk.conversations() == [2]
    await reply(desk, clock)
    assert [row["status"] for row in await desk.rows("select status from orders")] == ["CONFIRMED"]


@pytest.mark.parametrize("program", PROGRAMS)
async def test_without_any_mark_a_mail_begins_a_conversation(desk: MailDesk, clock: FakeClock, program: str):
    ours = await order_and_reply(desk, clock)

    await desk.receive(answer_to(ours, program, frozenset()))

    assert await desk.conversations() == [1, 1]


@pytest.mark.parametrize("program", PROGRAMS)
async def test_forged_marks_are_not_used(desk: MailDesk, clock: FakeClock, program: str):
    """Without References, which name the customer's own mail and need no signature."""
    ours = await order_and_reply(desk, clock)
    token = await token_of(desk)
    forged = ours.replace(token.encode(), (token[:-1] + ("0" if token[-1] != "0" else "1")).encode())

    await desk.receive(answer_to(forged, program, frozenset({"plus", "parent", "mark"})))

    assert await desk.conversations() == [1, 1]


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
async def test_another_tenants_and_another_accounts_thread_is_not_found(
    runtime: Runtime, desk: MailDesk, clock: FakeClock, marks: frozenset[str]
):
    ours = await order_and_reply(desk, clock)
    theirs = await open_mail_desk(runtime)
    sister = await open_mail_desk(runtime, "ventas@bebidas.example", desk.tenant)

    for stranger in (theirs, sister):
        await stranger.receive(answer_to(ours, "gmail", marks))
        assert await stranger.conversations() == [1]
    assert await desk.conversations() == [1]


async def test_a_message_id_of_the_providers_own_is_found_and_ours_as_well(desk: MailDesk, clock: FakeClock):
    desk.provider.named = "0100018f-ses@us-east-1.amazonses.com"
    ours = await order_and_reply(desk, clock)

    (row,) = await desk.rows("select mail_message_id from messages where direction = 'OUTBOUND'")
    assert row["mail_message_id"] == desk.provider.named
    await desk.receive(customer_mail("sí", "a@x.example", In_Reply_To=f"<{desk.provider.named}>"))
    await desk.receive(answer_to(ours, "apple", frozenset({"parent"})))
    assert await desk.conversations() == [3]
    clock.advance(60)
    await by_hand(desk)
    await desk.send()
    last = desk.provider.sent[-1].mail
    assert last
    assert desk.provider.named in last.references


async def test_a_mail_takes_its_files_along(desk: MailDesk, clock: FakeClock):
    await order_and_reply(desk, clock)
    await by_hand(desk, "la lista", PDF)
    downloads = ScriptedDownloads(b"%PDF-1.7 list")

    assert await desk.send(downloads) == [SendResult.SENT]

    assert downloads.asked == [PDF.url]
    assert downloads.parties == [("anywhere", str(desk.tenant))]  # an address that the tenant named is judged
    (file,) = desk.provider.sent[-1].attachments
    assert (file.content, file.filename) == (b"%PDF-1.7 list", "lista.pdf")
    assert b"lista.pdf" in desk.provider.raw[-1]


async def test_a_file_that_cannot_be_had_stops_the_mail(desk: MailDesk, clock: FakeClock):
    await order_and_reply(desk, clock)
    await by_hand(desk, "la lista", PDF)

    assert await desk.send(ScriptedDownloads(TooLarge())) == [SendResult.FAILED]

    (row,) = await desk.rows("select error_code, send_started_at from messages where status = 'FAILED'")
    assert (row["error_code"], row["send_started_at"]) == ("too_large", None)
    assert len(desk.provider.raw) == 1


async def test_a_server_of_files_that_asks_to_slow_down_slows_no_account(desk: MailDesk, clock: FakeClock):
    """The tenant's own server is not the provider: other mails leave meanwhile, and the fault is told as the file's."""
    await order_and_reply(desk, clock)
    await by_hand(desk, "la lista", PDF)
    heard: list[GatewayError] = []

    for asked in (Throttled(retry_after=600), ProviderUnavailable()):
        assert await desk.send(ScriptedDownloads(asked), heard.append) == [SendResult.POSTPONED]
        clock.advance(3600)

    assert {type(fault) for fault in heard} == {NotThere}
    (account,) = await desk.rows("select throttled_until from channel_accounts")
    assert account["throttled_until"] is None
    (row,) = await desk.rows("select send_attempts from messages where send_due_at is not null")
    assert row["send_attempts"] == 2


async def test_a_login_that_a_file_wants_is_not_the_accounts(desk: MailDesk, clock: FakeClock):
    await order_and_reply(desk, clock)
    await by_hand(desk, "la lista", PDF)
    heard: list[GatewayError] = []

    assert await desk.send(ScriptedDownloads(BadCredentials(provider_code="401")), heard.append) == [
        SendResult.FAILED
    ]

    (fault,) = heard
    assert (type(fault), fault.provider_code) == (ContentRefused, "401")


async def test_files_of_other_channels_stay_addresses(runtime: Runtime, clock: FakeClock):
    plain = await open_desk(runtime)
    await plain.queue(attachments=[PDF])
    downloads = ScriptedDownloads(b"%PDF")
    (claimed,) = await plain.claim()
    await send_message(runtime, {"twilio": plain.provider}, claimed, downloads)  # type: ignore[dict-item]

    assert downloads.asked == []
    assert plain.provider.sent[0].mail is None
