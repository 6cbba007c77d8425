"""While a turn thinks, a WhatsApp customer sees that an answer is being written; nothing waits for it or fails with it."""

import asyncio
from typing import Any

import pytest

from channels.base import Channel, ChannelAccount
from channels.errors import ProviderUnavailable
from handlers.ai.rules import RulesEngine
from handlers.ai.types import Intent
from handlers.catalogues import CatalogueCache
from handlers.runtime import Runtime
from handlers.turns import TurnResult, TurnTools, run_turn
from handlers.typing_notice import TypingTools
from tests.factories import CUSTOMER_NUMBER, make_account, make_distributor
from tests.fakes import FakeAdapter, FakeClock, FakeEngine
from tests.integration.test_turns import Shop, extraction

LONG_AGO_ENOUGH = 5


class Typist(FakeAdapter):
    """Remembers for whom it showed that something is being written; may fail, or never end."""

    def __init__(self, fails: bool = False, hangs: bool = False) -> None:
        super().__init__()
        self.shown: list[tuple[str, str]] = []
        self.seen = asyncio.Event()
        self.fails, self.hangs = fails, hangs
        self.cut = False

    async def show_typing(self, account: ChannelAccount, recipient: str, provider_message_id: str) -> None:
        assert account.credentials["auth_token"]
        self.shown.append((recipient, provider_message_id))
        self.seen.set()
        if self.fails:
            raise ProviderUnavailable
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.cut = True


class Thinking(FakeEngine):
    """Answers once the customer has seen that it thinks."""

    def __init__(self, typist: Typist) -> None:
        super().__init__(self.think)
        self.typist = typist

    async def think(self, _request: Any) -> Any:
        async with asyncio.timeout(10):
            await self.typist.seen.wait()
        return extraction(Intent.GREETING)


async def shop_on(runtime: Runtime, channel: Channel = Channel.WHATSAPP, **settings: Any) -> Shop:
    tenant = await make_distributor(runtime, **settings)
    return Shop(runtime, await make_account(runtime, tenant, channel))


async def turn(shop: Shop, clock: FakeClock, engine: Any, typist: Any, after: float = 0.0) -> TurnResult:
    clock.advance(LONG_AGO_ENOUGH)
    (claimed,) = await shop.claim()
    typing = TypingTools({"twilio": typist}, after)
    return await run_turn(shop.runtime, TurnTools(engine, CatalogueCache(), typing=typing), claimed)


@pytest.mark.parametrize(("fails", "hangs"), [(False, False), (True, False), (False, True)])
async def test_the_last_message_s_writer_sees_it(
    runtime: Runtime, clock: FakeClock, fails: bool, hangs: bool
):
    shop, typist = await shop_on(runtime), Typist(fails, hangs)
    await shop.write("hola", "buenas")

    assert await turn(shop, clock, Thinking(typist), typist) is TurnResult.DONE

    assert typist.shown == [(CUSTOMER_NUMBER, "SM2")]
    assert typist.cut is hangs
    assert len(await shop.replies()) == 1


async def test_an_answer_that_is_there_at_once_needs_none(runtime: Runtime, clock: FakeClock):
    shop, typist = await shop_on(runtime), Typist()
    await shop.write("hola")

    assert await turn(shop, clock, RulesEngine(), typist, after=60) is TurnResult.DONE
    assert typist.shown == []


async def looks_away(shop: Shop, clock: FakeClock) -> list[tuple[str, str]]:
    """What is shown in a turn that lasts until everything that could be shown was."""
    typist = Typist()
    await shop.write("hola")

    async def think(_request: Any) -> Any:
        if under_way := [task for task in asyncio.all_tasks() if task.get_name() == "typing"]:
            await asyncio.wait(under_way)
        return extraction(Intent.GREETING)

    await turn(shop, clock, FakeEngine(think), typist)
    return typist.shown


async def test_nobody_sees_it_where_nobody_answers_or_wants_it(runtime: Runtime, clock: FakeClock):
    silent = await shop_on(runtime, auto_reply="off")
    unwanted = await shop_on(runtime)
    await unwanted.rows("update channel_accounts set settings = '{\"typing_indicator\": false}' returning 1")
    wanted = await shop_on(runtime)
    await wanted.rows("update channel_accounts set settings = '{\"typing_indicator\": true}' returning 1")

    assert await looks_away(silent, clock) == []
    assert await looks_away(unwanted, clock) == []
    assert await looks_away(wanted, clock) == [(CUSTOMER_NUMBER, "SM1")]


async def test_a_channel_without_it_is_not_looked_at(runtime: Runtime, clock: FakeClock):
    shop, typist = await shop_on(runtime, Channel.SMS), Typist()
    await shop.write("hola", channel=Channel.SMS)

    assert await turn(shop, clock, RulesEngine(), typist) is TurnResult.DONE
    assert typist.shown == []


async def test_a_provider_without_it_is_left_alone(runtime: Runtime, clock: FakeClock):
    shop = await shop_on(runtime)
    await shop.write("hola")

    assert await turn(shop, clock, RulesEngine(), FakeAdapter()) is TurnResult.DONE
