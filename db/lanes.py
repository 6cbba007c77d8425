"""The one work-queue mechanism: rows that are due are claimed in batches under a lease and settled
afterwards.

A lease that runs out is claimed again by whoever comes next; nothing stays locked while the work is done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("lanes")
# Retries end after three days; the rest is for workers that were off.
OLDEST_POST = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Shard:
    """A worker's part of all tenants: ``index`` of ``count``."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """How much to claim at once: ``batch`` rows, at most ``share`` of one tenant (of deliveries: of one endpoint), leased
    for ``lease``.
    """

    batch: int
    share: int
    lease: timedelta
    shard: Shard = Shard()


@dataclass(frozen=True, slots=True)
class SendPace:
    """How fast accounts send: ``rates`` is messages a second by "provider CHANNEL", where the account itself has none;
    a place of its rate may be taken ``ahead`` of its time.
    """

    ahead: timedelta
    rates: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ClaimedTurn:
    """A conversation whose burst is quiet; ``generation`` tells whether a message arrived since."""

    distributor_id: UUID
    conversation_id: UUID
    generation: int
    attempts: int
    lease_token: UUID


@dataclass(frozen=True, slots=True)
class ClaimedSend:
    """An outbound message that is due."""

    distributor_id: UUID
    message_id: UUID
    attempts: int
    lease_token: UUID


@dataclass(frozen=True, slots=True)
class ClaimedFile:
    """A file of a message that is to be fetched."""

    distributor_id: UUID
    attachment_id: UUID
    attempts: int
    lease_token: UUID


@dataclass(frozen=True, slots=True)
class ClaimedPost:
    """A stored post that only told of something; its provider is to be asked for it."""

    distributor_id: UUID
    event_id: UUID
    attempts: int
    lease_token: UUID


async def claim_turns(
    connection: Connection, terms: ClaimTerms, now: datetime, token: UUID
) -> list[ClaimedTurn]:
    """Leases conversations whose turn is due at ``now``."""
    return [
        ClaimedTurn(**row)
        for row in await connection.fetch(_SQL["claim_turns"], *_arguments(terms, now, token))
    ]


async def claim_sends(
    connection: Connection, terms: ClaimTerms, now: datetime, token: UUID, pace: SendPace
) -> list[ClaimedSend]:
    """Leases messages that are due to be sent, the oldest of each conversation, of accounts that may send."""
    arguments = (*_arguments(terms, now, token), now + pace.ahead, dict(pace.rates))
    return [ClaimedSend(**row) for row in await connection.fetch(_SQL["claim_sends"], *arguments)]


async def claim_media(
    connection: Connection, terms: ClaimTerms, now: datetime, token: UUID
) -> list[ClaimedFile]:
    """Leases files that are due to be fetched."""
    return [
        ClaimedFile(**row)
        for row in await connection.fetch(_SQL["claim_media"], *_arguments(terms, now, token))
    ]


async def claim_deferred(
    connection: Connection, terms: ClaimTerms, now: datetime, token: UUID
) -> list[ClaimedPost]:
    """Leases posts that are due to be asked for, none that came over ``OLDEST_POST`` ago."""
    rows = await connection.fetch(
        _SQL["claim_deferred"], *_arguments(terms, now, token), _first_id_of(now - OLDEST_POST)
    )
    return [ClaimedPost(**row) for row in rows]


def _first_id_of(moment: datetime) -> UUID:
    """The smallest UUIDv7 that can have been made then (RFC 9562, section 5.7)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def _arguments(terms: ClaimTerms, now: datetime, token: UUID) -> tuple[object, ...]:
    shard = terms.shard
    return now, now + terms.lease, token, terms.batch, terms.share, shard.index, shard.count
