"""Who may finish a turn, and when it is tried again: leases that run out, bursts that go on, faults that pass."""

from dataclasses import replace
from typing import Any

import pytest

from channels.errors import ModelFault, Permanent, Temporary, Throttled
from db.inbox import read_analysis
from handlers.ai.model import PaidFault
from handlers.ai.rules import RulesEngine
from handlers.ai.types import Extraction, Intent, Usage
from handlers.catalogues import CatalogueCache
from handlers.turns import TurnResult, TurnTools, run_turn
from tests.fakes import FakeClock, FakeEngine
from tests.integration.test_turns import Shop, add, extraction, shop

__all__ = ["shop"]  # a fixture

BOUGHT = extraction(Intent.BUY, add("COCA-600", 2))


def outlived(shop: Shop, clock: FakeClock, answer: Any) -> FakeEngine:
    """An engine that thinks until its lease has run out and another worker has finished the turn."""

    async def slow(_request: Any) -> Extraction:
        clock.advance(46)
        assert await shop.turn(FakeEngine(BOUGHT)) is TurnResult.DONE
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    return FakeEngine(slow)


async def quantities(shop: Shop) -> list[int]:
    return [int(row["quantity"]) for row in await shop.rows("select quantity from order_products")]


async def test_what_is_understood_after_the_lease_ran_out_changes_nothing(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    assert await shop.turn(outlived(shop, clock, BOUGHT)) is TurnResult.LOST

    assert await quantities(shop) == [2]
    assert len(await shop.replies()) == 1
    assert (await shop.events()).count("ai.completed") == 1


async def test_a_failure_after_the_lease_ran_out_gives_nothing_to_a_person(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    assert await shop.turn(outlived(shop, clock, Permanent())) is TurnResult.LOST

    assert (await shop.rows("select handoff from conversations"))[0]["handoff"] == "BOT"
    assert (await shop.rows("select status from ai_responses"))[0]["status"] == "COMPLETED"
    assert "ai.failed" not in await shop.events()
    assert await quantities(shop) == [2]


async def test_a_fault_after_the_lease_ran_out_does_not_take_the_lease_from_its_new_holder(
    shop: Shop, clock: FakeClock
):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    taken_over: list[Any] = []

    async def slow(_request: Any) -> Extraction:
        clock.advance(46)
        taken_over.extend(await shop.claim())
        raise Temporary

    await shop.turn(FakeEngine(slow))

    clock.advance(3)
    assert await shop.claim() == []
    tools = TurnTools(RulesEngine(), CatalogueCache())
    assert await run_turn(shop.runtime, tools, taken_over[0]) is TurnResult.DONE


async def test_a_burst_that_went_on_is_due_when_it_is_quiet(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    async def interrupted(_request: Any) -> Extraction:
        await shop.write("mejor 3")
        return BOUGHT

    assert await shop.turn(FakeEngine(interrupted)) is TurnResult.SUPERSEDED
    clock.advance(3.9)
    assert await shop.claim() == []
    clock.advance(0.1)
    assert len(await shop.claim()) == 1


async def test_a_newer_message_does_not_cut_short_the_wait_that_a_fault_asked_for(
    shop: Shop, clock: FakeClock
):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    assert await shop.turn(FakeEngine(Throttled(retry_after=300.0))) is TurnResult.POSTPONED
    for _ in range(6):
        await shop.write("¿hola?")
        clock.advance(30)
        assert await shop.claim() == []
    clock.advance(120)
    engine = FakeEngine(BOUGHT)

    assert await shop.turn(engine) is TurnResult.DONE
    assert len(engine.requests[0].texts) == 7


async def test_a_burst_that_goes_on_after_a_fault_is_still_waited_for(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)
    await shop.turn(FakeEngine(Temporary()))  # due in 2 s
    clock.advance(1)
    await shop.write("y 1 agua ciel")  # due in 4 s
    clock.advance(3)
    assert await shop.claim() == []
    clock.advance(1)

    assert await shop.turn(FakeEngine(BOUGHT)) is TurnResult.DONE


PAID = Usage(input_tokens=1400, output_tokens=220, cost_micro_usd=800, request_id="req_1")


async def bills(shop: Shop) -> list[tuple[Any, ...]]:
    rows = await shop.rows("select status, error_class, intent, cost_micro_usd from ai_responses order by id")
    return [tuple(row.values()) for row in rows]


async def analyses(shop: Shop) -> list[str | None]:
    """Each message's analysis as people see it: its intent."""
    found: list[str | None] = []
    async with shop.runtime.database.tenant(shop.tenant) as connection:
        for row in await connection.fetch("select id from messages where direction = 'INBOUND' order by id"):
            analysis = await read_analysis(connection, row["id"])
            found.append(analysis.intent if analysis else None)
    return found


async def test_a_discarded_result_leaves_only_its_bill(shop: Shop, clock: FakeClock):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    async def interrupted(_request: Any) -> Extraction:
        await shop.write("mejor 3")
        return replace(BOUGHT, usage=PAID)

    await shop.turn(FakeEngine(interrupted))
    assert await analyses(shop) == [None, None]
    clock.advance(5)
    await shop.turn(FakeEngine(BOUGHT))

    assert await bills(shop) == [("FAILED", "superseded", None, 800), ("COMPLETED", None, "BUY", 0)]
    assert await analyses(shop) == [None, "BUY"]


@pytest.mark.parametrize(
    "answer",
    [replace(BOUGHT, usage=PAID), PaidFault(ModelFault.TRUNCATED, PAID)],
    ids=["understood", "failed"],
)
async def test_a_result_that_came_too_late_adds_its_bill_to_the_one_that_stands(
    shop: Shop, clock: FakeClock, answer: Any
):
    await shop.write("2 cajas de coca 600")
    clock.advance(5)

    await shop.turn(outlived(shop, clock, answer))

    assert await bills(shop) == [("COMPLETED", None, "BUY", 800)]
