"""What a provider received and never brought: it is asked for it, and what is not here yet is stored as if it had been
posted. Whatever is asked for twice is stored once.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from multidict import CIMultiDict

from channels.abilities import HeldPost, Reconcilable
from channels.base import ChannelAccount, ChannelAdapter, InboundItem, InboundMessage, InboundRequest
from channels.errors import GatewayError, NotFound, WrongState
from db import reconcile
from db.reconcile import DueAccount, ReconcileRow
from handlers import inbound
from handlers.accepting import accept_item
from handlers.deferred import DeferredTools
from handlers.fetching import open_account
from handlers.inbound import Posted
from handlers.runtime import Runtime

EVERY = timedelta(minutes=15)
FIRST_SPAN = timedelta(hours=24)  # how far back an account's first asking goes
LONGEST_SPAN = timedelta(days=7)  # a machine that was off for a month answers nobody's words of last month
# Providers' lists are late, and a post that failed is tried again for minutes: each asking goes back over the last one's end
# and leaves alone what may be on its way.
OVERLAP = timedelta(hours=1)
IN_FLIGHT = timedelta(minutes=2)
# Longer than an asking may take: thousands of messages, each with a page of files.
_LEASE = timedelta(minutes=10)
_ASKING_SECONDS = 540.0
_AT_ONCE = 4
_BATCH = 100
# On the stored request, so that nobody takes it for a provider's signed post.
MARK = "X-Waystation-Reconciled"


@dataclass(slots=True)
class Reconciled:
    """What came of asking: all that the provider holds of the time, of that new here, and of that known already."""

    seen: int = 0
    new: int = 0
    duplicate: int = 0


Progress = Callable[[Reconciled], None]
Tell = Callable[[UUID, Reconciled | Exception], None]


@dataclass(slots=True)
class _Batch:
    """What is stored together, in the order in which it was written."""

    posts: list[tuple[Posted, InboundItem]] = field(default_factory=list)


async def reconcile_account(
    runtime: Runtime,
    tools: DeferredTools,
    distributor_id: UUID,
    account_id: UUID,
    span: timedelta,
    on_progress: Progress = lambda _: None,
) -> Reconciled:
    """Asks for what one account received within the span before now, whoever else may be asking. Raises NotFound,
    WrongState for a provider that cannot be asked, Temporary, Permanent, DatabaseUnavailable.
    """
    row = await _find(runtime, distributor_id, account_id)
    now = runtime.clock()
    done = await _ask(runtime, tools, distributor_id, row, now - span, now, on_progress)
    without_hole = now - span <= (row.reconciled_until or now - FIRST_SPAN)
    until = now - IN_FLIGHT if without_hole else None
    await _settle(runtime, distributor_id, account_id, until, leased=False)
    return done


async def reconcile_due(runtime: Runtime, tools: DeferredTools, tell: Tell) -> int:
    """Asks for every account whose time has come; gives back how many messages were new. One that cannot be asked for
    holds up no other and is tried again the next time; ``tell`` hears of each. Raises DatabaseUnavailable.
    """
    providers = [name for name, adapter in tools.adapters.items() if isinstance(adapter, Reconcilable)]
    now = runtime.clock()
    async with runtime.database.worker_statements() as connection:
        # A quarter hour's run is never put off to the next one by the seconds that this one began later.
        due = await reconcile.list_due_accounts(connection, providers, now - EVERY / 2, now)
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(account: DueAccount) -> int:
        async with room:
            return await _reconcile_if_free(runtime, tools, account, tell)

    return sum(await asyncio.gather(*(one(account) for account in due)))


async def _reconcile_if_free(runtime: Runtime, tools: DeferredTools, due: DueAccount, tell: Tell) -> int:
    now = runtime.clock()
    async with runtime.database.tenant(due.distributor_id) as connection:
        if not await reconcile.take_account(connection, due.id, now, now + _LEASE):
            return 0
    until = None
    try:
        row = await _find(runtime, due.distributor_id, due.id)
        async with asyncio.timeout(_ASKING_SECONDS):
            done = await _ask(runtime, tools, due.distributor_id, row, _due_since(row, now), now - IN_FLIGHT)
        until = now - IN_FLIGHT
    except (GatewayError, TimeoutError) as error:
        tell(due.id, error)
        return 0
    finally:
        await _settle(runtime, due.distributor_id, due.id, until, leased=True)
    tell(due.id, done)
    return done.new


def _due_since(row: ReconcileRow, now: datetime) -> datetime:
    """Never before there was the account: what a number received in another's hands is not ours."""
    since = row.reconciled_until - OVERLAP if row.reconciled_until else now - FIRST_SPAN
    return max(since, row.created_at, now - LONGEST_SPAN)


async def _find(runtime: Runtime, distributor_id: UUID, account_id: UUID) -> ReconcileRow:
    async with runtime.database.tenant(distributor_id) as connection:
        row = await reconcile.find_account(connection, account_id)
    if row is None:
        raise NotFound
    return row


async def _settle(
    runtime: Runtime, distributor_id: UUID, account_id: UUID, until: datetime | None, *, leased: bool
) -> None:
    async with runtime.database.tenant(distributor_id) as connection:
        await reconcile.settle_account(connection, account_id, until, leased=leased)


async def _ask(
    runtime: Runtime,
    tools: DeferredTools,
    distributor_id: UUID,
    row: ReconcileRow,
    since: datetime,
    until: datetime,
    on_progress: Progress = lambda _: None,
) -> Reconciled:
    """Stores what the provider received between the two and is not here."""
    adapter = _reconcilable(tools.adapters, row.provider)
    account = open_account(runtime, distributor_id, row)
    downloads = tools.downloads.from_provider(str(distributor_id))
    done, batch = Reconciled(), _Batch()
    async for held in adapter.list_held(account, since, downloads):
        posted = _as_posted(runtime, account, held, until)
        batch.posts += [(posted, item) for item in held.items if posted.received_at <= until]
        if len(batch.posts) >= _BATCH:
            await _store(runtime, tools, account, batch, done)
            on_progress(done)
    await _store(runtime, tools, account, batch, done)
    on_progress(done)
    return done


def _reconcilable(adapters: Mapping[str, ChannelAdapter], provider: str) -> Reconcilable:
    adapter = adapters.get(provider)
    if not isinstance(adapter, Reconcilable):
        raise WrongState(f"{provider} cannot be asked for what it received.")
    return adapter


def _as_posted(runtime: Runtime, account: ChannelAccount, held: HeldPost, until: datetime) -> Posted:
    """The post that would have come, when it would have: the 24 hours to answer in began then. What bears no date came
    before ``until``, since it is held.
    """
    now = runtime.clock()
    sent = (item.sent_at for item in held.items if isinstance(item, InboundMessage))
    dated = filter(None, (held.received_at, *sent))
    headers = CIMultiDict({**held.request.headers, MARK: now.isoformat()})
    url = f"{runtime.public_url}/in/{account.provider}/{account.id}"
    request = InboundRequest(held.request.method, url, headers, held.request.body)
    return Posted(account, request, min(next(dated, until), now))


async def _store(
    runtime: Runtime, tools: DeferredTools, account: ChannelAccount, batch: _Batch, done: Reconciled
) -> None:
    """All messages of the batch at once, so that a customer's burst is one; then the few others."""
    known = await _list_known(runtime, account, [item for _, item in batch.posts])
    kept = [(posted, item) for posted, item in batch.posts if _key(item) not in known]
    done.seen += len(batch.posts)
    done.duplicate += len(batch.posts) - len(kept)
    messages = [
        inbound.message_item(runtime, posted, item, tools.quiet_seconds(item.channel))
        for posted, item in kept
        if isinstance(item, InboundMessage)
    ]
    stored = (
        [accepted.duplicate for accepted in await inbound.accept_messages(runtime, messages)]
        if messages
        else []
    )
    for posted, item in kept:
        if not isinstance(item, InboundMessage):
            known_already = await accept_item(
                runtime, posted, item, 0.0
            )  # what is no message waits for no burst
            stored += [] if known_already is None else [known_already]
    done.duplicate += sum(stored)
    done.new += len(stored) - sum(stored)
    batch.posts.clear()


def _key(item: InboundItem) -> str | None:
    return item.provider_key if isinstance(item, InboundMessage) else None


async def _list_known(
    runtime: Runtime, account: ChannelAccount, items: Sequence[InboundItem]
) -> set[str | None]:
    keys = [item.provider_key for item in items if isinstance(item, InboundMessage)]
    async with runtime.database.tenant(account.distributor_id) as connection:
        return {*await reconcile.list_known_keys(connection, account.provider, keys)}
