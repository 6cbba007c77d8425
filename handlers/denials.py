"""What was refused at the door of a tenant: kept for the tenant, in a transaction of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from db import audit
from db.audit import SecurityEvent
from handlers.runtime import Runtime


class DenialType(StrEnum):
    """What was refused."""

    SIGNATURE = "signature.refused"
    KEY = "key.refused"


@dataclass(frozen=True, slots=True)
class Denial:
    """One refusal: whose door, what was refused, for which account or key, and where."""

    distributor_id: UUID
    type: DenialType
    subject_id: UUID
    detail: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How often one refusal occurred, from the first time to the last."""

    denial: Denial
    occurrences: int
    first_at: datetime
    last_at: datetime


async def record_tallies(runtime: Runtime, distributor_id: UUID, tallies: Sequence[Tally]) -> None:
    """Adds a row for each of a tenant's tallies; raises DatabaseUnavailable."""
    rows = [
        {
            "id": runtime.new_id(),
            "type": tally.denial.type,
            "subject_id": tally.denial.subject_id,
            "detail": tally.denial.detail,
            "occurrences": tally.occurrences,
            "first_at": tally.first_at.isoformat(),
            "occurred_at": tally.last_at.isoformat(),
        }
        for tally in tallies
    ]
    async with runtime.database.tenant(distributor_id) as connection:
        await audit.record_denials(connection, rows)


async def list_security_events(
    runtime: Runtime, distributor_id: UUID, before: UUID, type_: str | None, limit: int
) -> list[SecurityEvent]:
    """The tenant's log, newest first."""
    async with runtime.database.tenant(distributor_id) as connection:
        return await audit.list_security_events(connection, before, type_, limit)
