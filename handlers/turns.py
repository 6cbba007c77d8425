"""One AI turn per burst: read, understand outside any transaction, then store everything in one."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from channels.errors import AttemptsExhausted, GatewayError, Temporary
from db import turns
from db.lanes import ClaimedTurn
from db.tenant import Connection
from db.turns import BurstMessage, TurnLock
from handlers.ai.carts import read_cart, with_carts
from handlers.ai.model import PaidFault
from handlers.ai.rules import understand
from handlers.ai.types import AIEngine, DraftLine, Extraction, ExtractionRequest, Intent, Language, Usage
from handlers.catalogues import CatalogueCache
from handlers.consent import is_help_word
from handlers.handoff import Handoff
from handlers.orders import find_draft, is_expired
from handlers.runtime import Runtime
from handlers.turn_outcome import (
    Burst,
    NotUnderstood,
    Understood,
    save_bill,
    store_not_understood,
    store_understood,
)
from handlers.typing_notice import TypingTools, showing_typing

# One turn reads at most so many messages and characters; the rest of a flood is the next turn's.
BURST_LIMIT = 50
BURST_CHARACTERS = 4_000
# Claims of one burst, crashes included, before it is given to a person.
MAX_ATTEMPTS = 5
_RETRY_SECONDS = (2.0, 10.0, 30.0, 60.0)
_LONGEST_WAIT = 600.0  # whatever a model's server asks for: a customer waits


class TurnResult(StrEnum):
    """How a claimed turn ended."""

    DONE = "done"
    SUPERSEDED = "superseded"  # a message arrived meanwhile: the burst goes on
    LOST = "lost"  # the lease went to another worker
    POSTPONED = "postponed"  # a fault that may pass
    FAILED = "failed"  # given to a person


@dataclass(frozen=True, slots=True)
class TurnTools:
    """What turns need beside the runtime; ``monotonic`` gives seconds for the processing time."""

    engine: AIEngine
    catalogues: CatalogueCache
    monotonic: Callable[[], float] = time.monotonic
    typing: TypingTools = field(default_factory=TypingTools)


async def run_turn(runtime: Runtime, tools: TurnTools, claimed: ClaimedTurn) -> TurnResult:
    """Handles one claimed burst. Idempotent: a crash anywhere leaves the lease to run out and the burst to be
    done anew. Raises DatabaseUnavailable; then the lease runs out too.
    """
    burst = await _read_burst(runtime, tools, claimed)
    if burst is None:
        return TurnResult.LOST
    async with showing_typing(runtime, tools.typing, burst):
        return await _answer(runtime, tools, burst)


async def _answer(runtime: Runtime, tools: TurnTools, burst: Burst) -> TurnResult:
    started, claimed = tools.monotonic(), burst.claimed
    try:
        extraction = await _understand(tools, burst, runtime.clock())
    except GatewayError as error:
        if isinstance(error, Temporary) and claimed.attempts < MAX_ATTEMPTS:
            return await _postpone(runtime, burst, error)
        usage = error.usage if isinstance(error, PaidFault) else Usage()
        failure = NotUnderstood(tools.engine.name, error.code, _elapsed_ms(tools, started), usage)
        return await _give_up(runtime, burst, failure)
    return await _commit(runtime, burst, Understood(extraction, _elapsed_ms(tools, started)))


def _elapsed_ms(tools: TurnTools, started: float) -> int:
    return round((tools.monotonic() - started) * 1000)


async def _read_burst(runtime: Runtime, tools: TurnTools, claimed: ClaimedTurn) -> Burst | None:
    """What the turn starts from; None when the lease is lost or nothing awaits a turn any more."""
    async with runtime.database.tenant(claimed.distributor_id) as connection:
        row = await turns.find_turn(connection, claimed.conversation_id, claimed.lease_token)
        if row is None:
            return None
        messages = await turns.list_burst(connection, claimed.conversation_id, BURST_LIMIT)
        if not messages:
            now = runtime.clock()
            await turns.finish_turn(connection, row.conversation_id, [], language=None, handoff=None, now=now)
            return None
        draft = await find_draft(connection, row.conversation_id)
        catalogue = tools.catalogues.find(claimed.distributor_id, row.catalogue_version)
        products = None if catalogue else await turns.list_catalogue(connection)
    if products is not None:
        # Indexing ten thousand products takes seconds: not in the transaction, and not in the event loop.
        keep = tools.catalogues.keep
        catalogue = await asyncio.to_thread(keep, claimed.distributor_id, row.catalogue_version, products)
    assert catalogue is not None
    return Burst(claimed, row, tuple(_readable_at_once(messages)), draft, catalogue, row.handoff)


def _readable_at_once(messages: Sequence[BurstMessage]) -> Iterator[BurstMessage]:
    """The first messages up to the limit of characters, at least one."""
    yield messages[0]
    characters = len(messages[0].text)
    for message in messages[1:]:
        characters += len(message.text)
        if characters > BURST_CHARACTERS:
            return
        yield message


async def _understand(tools: TurnTools, burst: Burst, now: datetime) -> Extraction:
    """What the engine makes of the burst's words, and the carts in it. Raises GatewayError; AttemptsExhausted without
    asking it, where earlier tries crashed the worker.
    """
    if burst.claimed.attempts > MAX_ATTEMPTS:
        raise AttemptsExhausted
    carts = [read_cart(message.cart) for message in burst.messages]
    words = (cart.note if cart else message.text for cart, message in zip(carts, burst.messages, strict=True))
    # A single text may still be longer than any order; what is cut off is on the message for people to read.
    texts = tuple(text[:BURST_CHARACTERS] for text in words if text.strip())
    extraction = await _understand_words(tools, burst, texts, now)
    return with_carts(extraction, filter(None, carts), burst.catalogue)


async def _understand_words(
    tools: TurnTools, burst: Burst, texts: tuple[str, ...], now: datetime
) -> Extraction:
    language = Language(burst.row.language or burst.row.locale)
    if not texts or all(map(is_help_word, texts)):
        return Extraction("none", "1", Intent.OTHER, language, (), (), None, 1.0)
    request = ExtractionRequest(
        texts=texts,
        catalogue=burst.catalogue,
        draft=_known_lines(burst),
        now=now.astimezone(ZoneInfo(burst.row.time_zone)),
        language_hint=language,
    )
    if burst.draft is not None and is_expired(burst.draft.order, burst.written_at):
        request = await asyncio.to_thread(_beside_expired_draft, request)
    return await tools.engine.extract(request)


def _beside_expired_draft(request: ExtractionRequest) -> ExtractionRequest:
    """An expired draft can still be agreed to or dropped. Everything else is read without it, or "3 cajas" would mean
    three more. The rules decide, for a model needs their word for these two anyway (``handlers.ai.guard``).
    """
    answers = understand(request).intent in {Intent.CONFIRM, Intent.CANCEL}
    return request if answers else replace(request, draft=())


def _known_lines(burst: Burst) -> tuple[DraftLine, ...]:
    """The draft's lines whose product the catalogue still has; the others stay as they are."""
    lines = burst.draft.as_extraction_input() if burst.draft else ()
    return tuple(line for line in lines if burst.catalogue.find(line.sku) is not None)


async def _postpone(runtime: Runtime, burst: Burst, error: Temporary) -> TurnResult:
    wait = min(max(_RETRY_SECONDS[burst.claimed.attempts - 1], error.retry_after or 0), _LONGEST_WAIT)
    due = runtime.clock() + timedelta(seconds=wait)
    async with runtime.database.tenant(burst.claimed.distributor_id) as connection:
        await turns.release_turn(
            connection, burst.row.conversation_id, burst.row.lease_token, not_before=due, counts=True
        )
    return TurnResult.POSTPONED


async def _commit(runtime: Runtime, burst: Burst, understood: Understood) -> TurnResult:
    """Stores what follows, unless a message arrived since or the lease is another's: then only the bill is
    kept.
    """
    async with runtime.database.tenant(burst.claimed.distributor_id) as connection:
        if understood.extraction.intent is Intent.OPT_OUT:
            await turns.lock_contact(connection, burst.row.conversation_id)
        lock = await turns.lock_turn(connection, burst.row.conversation_id)
        if lock.lease_token != burst.claimed.lease_token:
            await save_bill(connection, runtime, burst, understood)
            return TurnResult.LOST
        if _is_overtaken(burst, lock, runtime.clock()):
            await save_bill(connection, runtime, burst, understood)
            await _release_superseded(connection, runtime, burst)
            return TurnResult.SUPERSEDED
        await store_understood(connection, runtime, await _as_locked(connection, burst, lock), understood)
    return TurnResult.DONE


async def _as_locked(connection: Connection, burst: Burst, lock: TurnLock) -> Burst:
    """The burst with who answers now: a person may have taken over while the engine was thinking."""
    waits = lock.handoff == Handoff.WAITING_HUMAN
    waits_for = await turns.find_handoff_reason(connection, burst.row.conversation_id) if waits else None
    return replace(burst, handoff=lock.handoff, waits_for=waits_for)


def _is_overtaken(burst: Burst, lock: TurnLock, now: datetime) -> bool:
    """Whether the burst went on since it was read (the read counts, not the claim). Past the cap it is answered
    all the same, or a customer who keeps writing would never be; what came since is the next turn's.
    """
    capped = burst.row.cap_at is not None and now >= burst.row.cap_at
    return lock.generation != burst.row.generation and not capped


async def _release_superseded(connection: Connection, runtime: Runtime, burst: Burst) -> None:
    await turns.release_turn(
        connection, burst.row.conversation_id, burst.row.lease_token, not_before=runtime.clock(), counts=False
    )


async def _give_up(runtime: Runtime, burst: Burst, failure: NotUnderstood) -> TurnResult:
    async with runtime.database.tenant(burst.claimed.distributor_id) as connection:
        lock = await turns.lock_turn(connection, burst.row.conversation_id)
        if lock.lease_token != burst.claimed.lease_token:
            await save_bill(connection, runtime, burst, failure)
            return TurnResult.LOST
        await store_not_understood(connection, runtime, await _as_locked(connection, burst, lock), failure)
    return TurnResult.FAILED
