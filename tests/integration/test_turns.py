"""One turn per burst: order, reply, record and events, all or nothing."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from channels.base import ChannelAccount, MessageType
from channels.errors import Permanent, Temporary
from db.lanes import ClaimedTurn, ClaimTerms, claim_turns
from handlers.ai.rules import RulesEngine
from handlers.ai.types import Band, Extraction, Intent, Language, Operation, OperationKind
from handlers.catalogues import CatalogueCache
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from handlers.turns import MAX_ATTEMPTS, TurnResult, TurnTools, run_turn
from tests.factories import accepted_item, inbound, make_account, make_distributor, make_product
from tests.fakes import FakeClock, FakeEngine

TERMS = ClaimTerms(batch=10, share=10, lease=timedelta(seconds=45))


class Shop:
    """A tenant with a small catalogue and a customer who writes."""

    def __init__(self, runtime: Runtime, account: ChannelAccount) -> None:
        self.runtime = runtime
        self.account = account
        self.tenant: UUID = account.distributor_id
        self.count = 0

    async def write(self, *texts: str, **fields: Any) -> None:
        for text in texts:
            self.count += 1
            message = inbound(text, key=f"SM{self.count}", **fields)
            await accept_messages(self.runtime, [accepted_item(self.runtime, self.account, message)])

    async def claim(self) -> list[ClaimedTurn]:
        async with self.runtime.database.worker_statements() as connection:
            return await claim_turns(connection, TERMS, self.runtime.clock(), self.runtime.new_id())

    async def turn(self, engine: Any = None) -> TurnResult:
        (claimed,) = await self.claim()
        return await run_turn(self.runtime, TurnTools(engine or RulesEngine(), CatalogueCache()), claimed)

    async def rows(self, query: str, *arguments: Any) -> list[dict[str, Any]]:
        async with self.runtime.database.tenant(self.tenant) as connection:
            return [dict(row) for row in await connection.fetch(query, *arguments)]

    async def replies(self) -> list[str]:
        return [
            row["text"]
            for row in await self.rows("select text from messages where direction = 'OUTBOUND' order by id")
        ]

    async def events(self) -> list[str]:
        return [row["type"] for row in await self.rows("select type from webhook_events order by id")]


@pytest.fixture
async def shop(runtime: Runtime) -> Shop:
    tenant = await make_distributor(runtime, time_zone="America/Mexico_City", currency="MXN")
    account = await make_account(runtime, tenant)
    await make_product(
        runtime, tenant, "COCA-600", "Coca-Cola 600 ml", brand="Coca-Cola", aliases=["coca 600"], pack_size=24
    )
    await make_product(
        runtime, tenant, "COCA-2L", "Coca-Cola 2 L", brand="Coca-Cola", aliases=["coca 2 litros"], pack_size=8
    )
    await make_product(
        runtime, tenant, "CIEL-1", "Agua Ciel 1 L", brand="Ciel", aliases=["agua ciel"], pack_size=12
    )
    return Shop(runtime, account)


def extraction(intent: Intent, *operations: Operation, **fields: Any) -> Extraction:
    values: dict[str, Any] = {
        "engine": "fake", "version": "1", "intent": intent, "language": Language.ES, "operations": operations,
        "unmatched": (), "delivery_date": None, "confidence": 0.9, **fields,
    }  # fmt: skip
    return Extraction(**values)


def add(sku: str, quantity: int, confidence: float = 0.95) -> Operation:
    return Operation(OperationKind.ADD, sku, Decimal(quantity), confidence, Band.AUTO, "x")


async def test_a_burst_becomes_one_order_and_one_reply(shop: Shop, clock: FakeClock):
    await shop.write("hola! me mandas 2 cajas de coca 600", "y 3 de agua ciel", "para el viernes porfa")
    clock.advance(5)

    assert await shop.turn() is TurnResult.DONE

    (order,) = await shop.rows("select * from orders")
    lines = await shop.rows(
        "select sku, quantity, unit_price, line_total from order_products order by position"
    )
    (reply,) = await shop.replies()
    assert order["status"] == "PENDING"
    assert order["delivery_date"].isoformat() == "2026-07-10"
    assert [(line["sku"], int(line["quantity"])) for line in lines] == [("COCA-600", 2), ("CIEL-1", 3)]
    assert (order["total_amount"], order["currency"]) == (50, "MXN")
    assert "2 caja - Coca-Cola 600 ml" in reply
    assert "50.00 MXN" in reply
    assert await shop.claim() == []
    assert "order.created" in await shop.events()
    assert all(row["ai_processed"] for row in await shop.rows("select ai_processed from messages"))


async def test_consent_confirms_the_order(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    await shop.turn()
    await shop.write("sí, confirmo")
    clock.advance(5)

    await shop.turn()

    (order,) = await shop.rows("select * from orders")
    assert order["status"] == "CONFIRMED"
    assert order["confirmed_at"] is not None
    assert (await shop.events())[-2:] == ["order.confirmed", "ai.completed"]
    assert "confirmado" in (await shop.replies())[-1]
    assert (await shop.rows("select status from customers"))[0]["status"] == "ORDERING"


async def test_what_fits_two_products_is_reviewed_with_the_matched_lines_kept(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600 y 3 de coca")
    clock.advance(5)

    await shop.turn()

    (order,) = await shop.rows("select * from orders")
    assert (order["status"], order["requires_review"], order["review_reasons"]) == (
        "REVIEW",
        True,
        ["unmatched"],
    )
    assert len(await shop.rows("select 1 from order_products")) == 1
    assert "order.review_required" in await shop.events()
    assert "revisará" in (await shop.replies())[-1]


async def test_nothing_matched_makes_no_order_but_a_question(shop: Shop, clock: FakeClock):
    await shop.write("mándame 4 tornillos de cabeza plana")
    clock.advance(5)

    await shop.turn()

    assert await shop.rows("select 1 from orders") == []
    assert len(await shop.replies()) == 1


async def test_a_line_under_the_tenants_threshold_is_reviewed(shop: Shop, clock: FakeClock):
    await shop.write("coca 600")
    clock.advance(5)

    await shop.turn(FakeEngine(extraction(Intent.BUY, add("COCA-600", 1, confidence=0.79))))

    (order,) = await shop.rows("select * from orders")
    assert (order["status"], order["review_reasons"]) == ("REVIEW", ["low_confidence"])


async def test_what_was_not_understood_stays_open_until_the_customer_comes_back_to_it(
    shop: Shop, clock: FakeClock
):
    async def after(text: str) -> tuple[str, list[str]]:
        await shop.write(text)
        clock.advance(5)
        await shop.turn()
        (order,) = await shop.rows("select status, unmatched from orders")
        return order["status"], order["unmatched"]

    assert await after("2 cajas de coca 600 y 3 tornillos") == ("REVIEW", ["3 tornillos"])
    assert await after("agrega 1 agua ciel") == ("REVIEW", ["3 tornillos"])
    assert await after("sí, confirmo") == ("REVIEW", ["3 tornillos"])


async def test_an_ambiguous_product_is_settled_by_naming_it(shop: Shop, clock: FakeClock):
    await shop.write("1 agua ciel y 3 cajas de coca")
    clock.advance(5)
    await shop.turn()
    assert (await shop.rows("select status from orders"))[0]["status"] == "REVIEW"
    await shop.write("3 cajas de coca 600")
    clock.advance(5)

    await shop.turn()

    (order,) = await shop.rows("select status, unmatched from orders")
    assert (order["status"], order["unmatched"]) == ("PENDING", [])


async def test_adding_to_a_doubtful_line_leaves_it_doubtful(shop: Shop, clock: FakeClock):
    for confidence in (0.3, 0.95):
        await shop.write("coca 600")
        clock.advance(5)
        await shop.turn(FakeEngine(extraction(Intent.BUY, add("COCA-600", 1, confidence))))

    (order,) = await shop.rows("select status, confidence from orders")
    assert (order["status"], float(order["confidence"])) == ("REVIEW", 0.3)


async def test_a_message_that_arrives_meanwhile_discards_the_result(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    async def interrupted(_request: Any) -> Extraction:
        await shop.write("mejor 3")
        return extraction(Intent.BUY, add("COCA-600", 2))

    result = await shop.turn(FakeEngine(interrupted))

    assert result is TurnResult.SUPERSEDED
    assert await shop.rows("select 1 from orders") == []
    assert await shop.replies() == []
    clock.advance(5)
    engine = FakeEngine(extraction(Intent.BUY, add("COCA-600", 3)))
    assert await shop.turn(engine) is TurnResult.DONE
    assert engine.requests[0].texts == ("2 cajas de coca 600", "mejor 3")


async def test_a_lease_that_ran_out_is_taken_over_and_the_first_worker_changes_nothing(
    shop: Shop, clock: FakeClock
):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    (slow,) = await shop.claim()
    assert await shop.claim() == []
    clock.advance(46)

    assert await shop.turn() is TurnResult.DONE
    assert await run_turn(shop.runtime, TurnTools(RulesEngine(), CatalogueCache()), slow) is TurnResult.LOST
    assert len(await shop.replies()) == 1
    assert len(await shop.rows("select 1 from orders")) == 1


async def test_a_fault_that_may_pass_is_tried_again_and_then_given_to_a_person(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    engine = FakeEngine(Temporary())
    for _ in range(MAX_ATTEMPTS - 1):
        assert await shop.turn(engine) is TurnResult.POSTPONED
        clock.advance(61)

    assert await shop.turn(engine) is TurnResult.FAILED

    (conversation,) = await shop.rows("select * from conversations")
    (response,) = await shop.rows("select * from ai_responses")
    assert conversation["handoff"] == "WAITING_HUMAN"
    assert (response["status"], response["error_class"]) == ("FAILED", "temporary")
    assert (await shop.events())[-2:] == ["ai.failed", "conversation.handoff_requested"]
    assert await shop.claim() == []


async def test_a_fault_that_will_not_pass_is_not_tried_again(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    assert await shop.turn(FakeEngine(Permanent())) is TurnResult.FAILED
    assert await shop.claim() == []


@pytest.mark.parametrize(
    ("text", "handoff", "replies"),
    [
        ("quiero hablar con una persona", "WAITING_HUMAN", 1),
        ("¿a qué hora cierran?", "WAITING_HUMAN", 1),
        ("¿dónde está mi pedido?", "WAITING_HUMAN", 1),
        ("hola buenas tardes", "BOT", 1),
        ("por favor no me escriban más, quítenme de su lista", "BOT", 0),
    ],
)
async def test_what_is_no_order(shop: Shop, clock: FakeClock, text: str, handoff: str, replies: int):
    await shop.write(text)
    clock.advance(5)

    await shop.turn()

    (conversation,) = await shop.rows("select * from conversations")
    assert conversation["handoff"] == handoff
    assert len(await shop.replies()) == replies
    assert await shop.rows("select 1 from orders") == []


async def test_a_wish_in_a_sentence_opts_out(shop: Shop, clock: FakeClock):
    await shop.write("no quiero recibir más mensajes")
    clock.advance(5)

    await shop.turn(FakeEngine(extraction(Intent.OPT_OUT)))

    assert await shop.rows(
        "select opted_out_at is not null as out, opt_out_reason from customer_contacts"
    ) == [{"out": True, "opt_out_reason": "keyword"}]
    assert "customer.opted_out" in await shop.events()


async def test_while_a_person_answers_orders_are_understood_and_nothing_is_sent(shop: Shop, clock: FakeClock):
    await shop.write("quiero hablar con una persona")
    clock.advance(5)
    await shop.turn()
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    await shop.turn()

    assert len(await shop.rows("select 1 from orders")) == 1
    assert len(await shop.replies()) == 1


async def test_a_person_who_takes_over_while_the_engine_thinks_is_not_talked_over(
    shop: Shop, clock: FakeClock
):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    async def taken_over(_request: Any) -> Extraction:
        await shop.rows("update conversations set handoff = 'HUMAN' returning 1")
        return extraction(Intent.BUY, add("COCA-600", 2))

    assert await shop.turn(FakeEngine(taken_over)) is TurnResult.DONE
    assert len(await shop.rows("select 1 from orders")) == 1
    assert await shop.replies() == []


async def test_a_burst_that_crashes_workers_is_given_to_a_person_without_asking_again(
    shop: Shop, clock: FakeClock
):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    for _ in range(MAX_ATTEMPTS):
        await shop.claim()
        clock.advance(46)
    engine = FakeEngine(AssertionError("not again"))

    assert await shop.turn(engine) is TurnResult.FAILED
    assert engine.requests == []
    assert (await shop.rows("select error_class from ai_responses"))[0]["error_class"] == "attempts_exhausted"


async def test_a_tenant_that_answers_by_itself_gets_no_replies(shop: Shop, clock: FakeClock):
    async with shop.runtime.database.tenant(shop.tenant) as connection:
        await connection.execute("update distributors set auto_reply = 'off'")
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    await shop.turn()

    assert len(await shop.rows("select 1 from orders")) == 1
    assert await shop.replies() == []


async def test_a_photo_alone_is_answered_without_an_engine(shop: Shop, clock: FakeClock):
    await shop.write("", type=MessageType.IMAGE)
    clock.advance(5)
    engine = FakeEngine(AssertionError("nothing to read"))

    assert await shop.turn(engine) is TurnResult.DONE
    assert engine.requests == []
    assert "archivo" in (await shop.replies())[0]


async def test_a_changed_catalogue_counts_from_the_next_turn_on(shop: Shop, clock: FakeClock):
    cache = CatalogueCache()
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    (claimed,) = await shop.claim()
    await run_turn(shop.runtime, TurnTools(RulesEngine(), cache), claimed)
    await make_product(shop.runtime, shop.tenant, "FANTA", "Fanta naranja 600 ml", aliases=["fanta"])
    async with shop.runtime.database.tenant(shop.tenant) as connection:
        await connection.execute("update distributors set catalogue_version = catalogue_version + 1")
    await shop.write("agrega 1 caja de fanta")
    clock.advance(5)
    (claimed,) = await shop.claim()

    await run_turn(shop.runtime, TurnTools(RulesEngine(), cache), claimed)

    assert {row["sku"] for row in await shop.rows("select sku from order_products")} == {"COCA-600", "FANTA"}


async def test_a_flood_is_read_in_several_turns_and_nothing_is_skipped(shop: Shop, clock: FakeClock):
    texts = [f"hola {number} " + "x" * 1500 for number in range(5)]
    await shop.write(*texts)
    clock.advance(60)
    engine = FakeEngine(extraction(Intent.GREETING))

    while claimed := await shop.claim():
        await run_turn(shop.runtime, TurnTools(engine, CatalogueCache()), claimed[0])

    assert [text for request in engine.requests for text in request.texts] == texts
    assert len(engine.requests) == 3
    assert all(row["ai_processed"] for row in await shop.rows("select ai_processed from messages"))


async def test_a_line_whose_product_left_the_catalogue_stays_in_the_draft(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600 y 1 agua ciel")
    clock.advance(5)
    await shop.turn()
    await shop.rows("update products set active = false where sku = 'CIEL-1' returning 1")
    await shop.rows("update distributors set catalogue_version = catalogue_version + 1 returning 1")
    await shop.write("mejor 3 cajas de coca 600")
    clock.advance(5)

    assert await shop.turn() is TurnResult.DONE
    lines = await shop.rows("select sku, quantity from order_products order by sku")
    assert [(line["sku"], int(line["quantity"])) for line in lines] == [("CIEL-1", 1), ("COCA-600", 3)]


async def test_a_start_that_was_written_later_is_the_newer_word(shop: Shop, clock: FakeClock):
    await shop.write("por favor no me escriban más, quítenme de su lista")
    clock.advance(2)
    await shop.write("START")
    clock.advance(20)

    await shop.turn()

    assert (await shop.rows("select opted_out_at from customer_contacts"))[0]["opted_out_at"] is None
    assert "customer.opted_out" not in await shop.events()


async def test_only_a_message_moves_the_time_of_the_last_message(shop: Shop, clock: FakeClock):
    async def last_message_at() -> object:
        return (await shop.rows("select last_message_at from conversations"))[0]["last_message_at"]

    await shop.write("jajaja qué partidazo el de anoche")
    written = clock()
    clock.advance(500)
    await shop.turn()
    assert (await last_message_at(), await shop.replies()) == (written, [])
    await shop.write("hola buenas tardes")
    clock.advance(5)

    await shop.turn()
    assert await last_message_at() == clock()


@pytest.mark.parametrize(
    ("word", "locale", "end"),
    [("help", "en", "STOP."), ("Ayuda", "es", "BAJA."), ("AJUDA!", "pt", "SAIR."), ("info", "es", "BAJA.")],
)
async def test_a_word_for_help_is_answered_without_the_engine(
    shop: Shop, clock: FakeClock, word: str, locale: str, end: str
):
    async with shop.runtime.database.tenant(shop.tenant) as connection:
        await connection.execute("update distributors set locale = $1", locale)
    await shop.write(word)
    clock.advance(5)
    engine = FakeEngine(Permanent())

    assert await shop.turn(engine) is TurnResult.DONE

    (reply,) = await shop.replies()
    assert "Bebidas del Valle" in reply
    assert reply.endswith(end)
    assert engine.requests == []
    assert "conversation.handoff_requested" not in await shop.events()


async def test_a_bare_no_to_a_summary_is_asked_once_what_to_change(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    await shop.turn()
    for _ in range(2):
        await shop.write("No.")
        clock.advance(5)
        await shop.turn()

    summary, question = await shop.replies()

    assert "Coca-Cola 600 ml" in summary
    assert question == "De acuerdo, no lo confirmo. ¿Qué cambio?"
    (order,) = await shop.rows("select status from orders")
    assert order["status"] == "PENDING"


async def test_a_bare_no_without_an_order_is_not_answered(shop: Shop, clock: FakeClock):
    await shop.write("no")
    clock.advance(5)
    await shop.turn()

    assert await shop.replies() == []
