"""Verified posts on their way into the database: read by the adapter, shared out among accounts, stored.

The HTTP edge comes here, and so does the spool with what waited on disk.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import TypeVar

import structlog

from channels.abilities import OneTimeTokens, Preparing, SharedHook
from channels.base import (
    Channel,
    ChannelAccount,
    ChannelAdapter,
    ConsentUpdate,
    DeferredPost,
    Ignored,
    InboundItem,
    InboundMessage,
    InboundRequest,
    StatusUpdate,
)
from channels.errors import VerificationFailed
from db.accept import AcceptedItem, AcceptedMessage
from db.statuses import AcceptedStatus
from gateway.acceptor import Acceptor
from gateway.accounts import AccountDirectory
from gateway.metrics import UNMATCHED, UNPROVEN, UNROUTED
from handlers.inbound import (
    Item,
    Posted,
    consent_item,
    deferred_item,
    ignored_item,
    message_item,
    status_item,
)
from handlers.runtime import Runtime

# Bytes of a post that are read within a few milliseconds; a mail of 10 MB takes a quarter of a second.
_AT_ONCE = 256 * 1024
Result = TypeVar("Result")
_log = structlog.get_logger("waystation.inbound")


class Intake:
    """Stores what verified posts say. ``quiet_seconds`` is how long a burst on a channel must be quiet."""

    def __init__(
        self,
        runtime: Runtime,
        adapters: Mapping[str, ChannelAdapter],
        accounts: AccountDirectory,
        acceptor: Acceptor,
        quiet_seconds: Callable[[Channel], float],
    ) -> None:
        self._runtime = runtime
        self._adapters = adapters
        self._accounts = accounts
        self._acceptor = acceptor
        self._quiet_seconds = quiet_seconds

    async def take(self, account: ChannelAccount, request: InboundRequest, received_at: datetime) -> None:
        """Returns once all of a verified post is durable. Raises MalformedPayload, VerificationFailed for a one-time token
        that came with another body before, DatabaseUnavailable or QueueFullError; some of it may be stored by then,
        and is known when the post comes again.
        """
        adapter = self._adapters[account.provider]
        items, token = await _apart(request, lambda: _read(adapter, account, request))
        owners = await self._owners(adapter, account, request, {item.route for item in items})
        posts = {
            owner.id: Posted(owner, _kept(adapter, owner, request, owners), received_at, token)
            for owner in owners.values()
            if owner is not None
        }
        owned = [(posts[owner.id], item) for item in items if (owner := owners[item.route])]
        if len(owned) < len(items):
            UNROUTED.labels(provider=adapter.name).inc(len(items) - len(owned))
            _log.warning("of no account here", account=str(account.id), items=len(items) - len(owned))
        await asyncio.gather(*(self._store(post, item) for post, item in owned))

    async def _owners(
        self,
        adapter: ChannelAdapter,
        account: ChannelAccount,
        request: InboundRequest,
        routes: AbstractSet[str],
    ) -> dict[str, ChannelAccount | None]:
        """Whose each route is; None for what is nobody's here. The URL's account has its own route, whoever else claims
        it.
        """
        if not isinstance(adapter, SharedHook):
            return dict.fromkeys(routes, account)
        owners: dict[str, ChannelAccount | None] = {
            "": account,
            adapter.route_of(account.credentials): account,
        }
        for route in routes - owners.keys():
            owners[route] = await self._owner_of(adapter, route, request)
        return owners

    async def _owner_of(
        self, adapter: ChannelAdapter, route: str, request: InboundRequest
    ) -> ChannelAccount | None:
        """The account of that route whose own secret signed the request: a tenant chooses its secret and its route, so
        that another's secret proves nothing for it, and a name nothing for anybody.
        """
        candidates = await self._accounts.find_by_route(adapter.name, route)
        return next((account for account in candidates if _proves(adapter, account, request)), None)

    async def _store(self, posted: Posted, item: InboundItem) -> None:
        match item:
            case InboundMessage():
                quiet = self._quiet_seconds(item.channel)
                await self._store_message(message_item(self._runtime, posted, item, quiet))
            case StatusUpdate():
                await self._store_status(posted.account, item, status_item(self._runtime, posted, item))
            case Ignored():
                if posted.token:  # it may not sign another body after this one, nor this one after another
                    _refuse_reuse(await self._acceptor.accept_ignored(ignored_item(self._runtime, posted)))
                _log.info("ignored", account=str(posted.account.id), reason=item.reason)
            case ConsentUpdate():
                await self._store_consent(posted.account, consent_item(self._runtime, posted, item))
            case DeferredPost():
                _refuse_reuse(
                    await self._acceptor.accept_deferred(deferred_item(self._runtime, posted, item))
                )

    async def _store_message(self, item: Item) -> None:
        accepted = await self._acceptor.accept_message(item)
        _refuse_reuse(accepted)
        _log.info(
            "accepted",
            message=str(accepted.message_id),
            duplicate=accepted.duplicate,
            # what `waystation replay` asks for; a duplicate's post is not kept
            post=None if accepted.duplicate else str(item["inbound_event_id"]),
        )

    async def _store_status(self, account: ChannelAccount, update: StatusUpdate, item: Item) -> None:
        """One of no message that we know is acknowledged too: the provider cannot mend it, and those of our own
        messages carry our id, so that they find their message even before its receipt does.
        """
        accepted = await self._acceptor.accept_status(item)
        _refuse_reuse(accepted)
        if accepted.message_id is None:
            UNMATCHED.labels(provider=account.provider).inc()
            _log.warning(
                "status of no known message",
                account=str(account.id),
                provider_message=update.provider_message_id,
                status=update.status,
            )

    async def _store_consent(self, account: ChannelAccount, item: Item) -> None:
        """One that a mail says of an address which the mail it names did not go to is acknowledged, and counts for nothing:
        it is forged, or of a mailbox that ours was passed on to.
        """
        accepted = await self._acceptor.accept_consent(item)
        _refuse_reuse(accepted)
        if accepted.unproven:
            UNPROVEN.labels(provider=account.provider).inc()
            _log.warning("word of a mail that was not sent", account=str(account.id))


async def check(adapter: ChannelAdapter, account: ChannelAccount, request: InboundRequest) -> None:
    """Raises VerificationFailed, or Temporary where what it needs for that cannot be had now."""
    if isinstance(adapter, Preparing):
        await adapter.prepare(account, request)
    await _apart(request, lambda: adapter.verify(account, request))


async def _apart(request: InboundRequest, work: Callable[[], Result]) -> Result:
    """What ``work`` gives, in a thread where the post is large: nobody else's post waits for it meanwhile."""
    return work() if len(request.body) <= _AT_ONCE else await asyncio.to_thread(work)


def _read(
    adapter: ChannelAdapter, account: ChannelAccount, request: InboundRequest
) -> tuple[Sequence[InboundItem], str | None]:
    items = adapter.parse(account, request)
    return items, adapter.one_time_token(account, request) if isinstance(adapter, OneTimeTokens) else None


def _kept(
    adapter: ChannelAdapter,
    owner: ChannelAccount,
    request: InboundRequest,
    owners: Mapping[str, ChannelAccount | None],
) -> InboundRequest:
    """What of a post its owner may keep: of one that says something of others, or of nobody, its own part."""
    if not isinstance(adapter, SharedHook) or all(found is owner for found in owners.values()):
        return request
    return adapter.only(request, adapter.route_of(owner.credentials))


def _refuse_reuse(accepted: AcceptedMessage | AcceptedStatus | AcceptedItem) -> None:
    """A token that came with another body before signs nothing: somebody has seen it on its way."""
    if accepted.token_reused:
        raise VerificationFailed


def _proves(adapter: ChannelAdapter, account: ChannelAccount, request: InboundRequest) -> bool:
    try:
        adapter.verify(account, request)
    except VerificationFailed:
        return False
    return True
