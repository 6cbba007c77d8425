"""Customers and their addresses, as people list, read and change them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from db.conflicts import unique_or_conflict
from db.named_sql import load_statements
from db.rows import ContactRecord, CustomerRecord
from db.tenant import Connection

_SQL = load_statements("customers")
_CODE_TAKEN = "A customer with this code exists already."


@dataclass(frozen=True, slots=True)
class CustomerStatistics:
    """What a customer did lately, and what an order of theirs comes to (None without one)."""

    orders_30_days: int
    average_order: Decimal | None
    active_conversations_7_days: int


async def list_customers(
    connection: Connection,
    before: UUID,
    *,
    status: str | None,
    label_id: UUID | None,
    text: str | None,
    limit: int,
) -> Sequence[CustomerRecord]:
    """Newest first; ``text`` is looked for in name, code and addresses."""
    rows = await connection.fetch(_SQL["list_customers"], before, status, label_id, text, limit)
    return [CustomerRecord(**row) for row in rows]


async def read_customer(connection: Connection, customer_id: UUID) -> CustomerRecord | None:
    row = await connection.fetchrow(_SQL["read_customer"], customer_id)
    return CustomerRecord(**row) if row else None


async def read_statistics(connection: Connection, customer_id: UUID, now: datetime) -> CustomerStatistics:
    """Of the 30 and 7 days before ``now``; the average of all orders in the tenant's present currency."""
    row = await connection.fetchrow(_SQL["read_statistics"], customer_id, now)
    assert row is not None, "it has no source that could be empty"
    return CustomerStatistics(**row)


async def insert_customer(
    connection: Connection, customer_id: UUID, *, business_name: str, customer_code: str, now: datetime
) -> None:
    """Stores a new customer; raises Conflict where the code is taken."""
    with unique_or_conflict(_CODE_TAKEN):
        await connection.execute(_SQL["insert_customer"], customer_id, business_name, customer_code, now)


async def update_customer(
    connection: Connection,
    customer_id: UUID,
    *,
    business_name: str | None,
    customer_code: str | None,
    now: datetime,
) -> bool:
    """Whether there is such a customer. A None given changes nothing; raises Conflict where the code is taken."""
    with unique_or_conflict(_CODE_TAKEN):
        changed = await connection.fetchval(
            _SQL["update_customer"], customer_id, business_name, customer_code, now
        )
    return changed is not None


async def list_contacts(connection: Connection, customer_ids: Sequence[UUID]) -> Sequence[ContactRecord]:
    """The addresses of these customers, the oldest first."""
    return [ContactRecord(**row) for row in await connection.fetch(_SQL["list_contacts"], list(customer_ids))]


async def list_contacts_of(
    connection: Connection, customer_id: UUID, before: UUID, limit: int
) -> Sequence[ContactRecord]:
    """The addresses of one customer, the newest first."""
    rows = await connection.fetch(_SQL["list_contacts_of"], customer_id, before, limit)
    return [ContactRecord(**row) for row in rows]


async def take_contact(
    connection: Connection,
    contact_id: UUID,
    customer_id: UUID,
    *,
    channel: str,
    address: str,
    display_name: str | None,
    now: datetime,
) -> ContactRecord | None:
    """Gives a customer an address, with its conversations; None where it is a customer's already.

    An address that was known keeps its id and its consent.
    """
    row = await connection.fetchrow(
        _SQL["take_contact"], contact_id, customer_id, channel, address, display_name, now
    )
    if row is None:
        return None
    await connection.execute(_SQL["take_conversations"], row["id"], customer_id)
    return ContactRecord(**row)


async def release_contact(connection: Connection, customer_id: UUID, contact_id: UUID) -> bool:
    """Takes an address and its conversations from a customer; whether it had it. Address and consent stay."""
    released = await connection.fetchval(_SQL["release_contact"], customer_id, contact_id)
    if released is None:
        return False
    await connection.execute(_SQL["release_conversations"], contact_id)
    return True


async def set_consent(
    connection: Connection,
    customer_id: UUID,
    contact_id: UUID,
    *,
    opted_out: bool,
    force: bool,
    now: datetime,
) -> ContactRecord | None:
    """Stops or opens an address; None where it is so already, may not be opened without force, or is not there."""
    row = await connection.fetchrow(_SQL["set_consent"], customer_id, contact_id, opted_out, now, force)
    return ContactRecord(**row) if row else None


async def read_contact(connection: Connection, customer_id: UUID, contact_id: UUID) -> ContactRecord | None:
    row = await connection.fetchrow(_SQL["read_contact"], customer_id, contact_id)
    return ContactRecord(**row) if row else None
