"""What people do to customers: make them, name them, give them addresses and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from channels.addresses import normalise
from channels.base import Channel
from channels.errors import InvalidInput, MalformedPayload, NotFound, WrongState
from db import customers, labels
from db.errors import Conflict
from db.rows import ContactRecord
from db.tenant import Connection
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell

_TAKEN = "This address is a customer's already."
_NOT_STAFFS = "The customer or the provider stopped messages to this address: opening it needs force."
_CODE_DIGITS = 12  # the end of the id, as a first message's customer gets it


@dataclass(frozen=True, slots=True)
class NewContact:
    """An address as it was given."""

    channel: Channel
    address: str
    display_name: str | None


async def create_customer(
    runtime: Runtime,
    distributor_id: UUID,
    *,
    business_name: str,
    customer_code: str | None,
    contacts: Sequence[NewContact],
) -> UUID:
    """Stores a customer with its addresses and tells of it; gives back its id.

    Raises InvalidInput for an address that is none or is given twice, Conflict where a code or an address is taken.
    """
    customer_id, now = runtime.new_id(), runtime.clock()
    known = _normalised(contacts)
    code = customer_code or f"C-{customer_id.hex[-_CODE_DIGITS:].upper()}"
    async with runtime.database.tenant(distributor_id) as connection:
        await customers.insert_customer(
            connection, customer_id, business_name=business_name, customer_code=code, now=now
        )
        for contact in known:
            await _take(connection, runtime.new_id(), customer_id, contact, now)
        data = {
            "customer_id": customer_id,
            "channel": known[0].channel,
            "address": known[0].address,
            "display_name": known[0].display_name,
        }
        await tell(connection, runtime, distributor_id, EventType.CUSTOMER_CREATED, data)
    return customer_id


async def patch_customer(
    runtime: Runtime,
    distributor_id: UUID,
    customer_id: UUID,
    *,
    business_name: str | None = None,
    customer_code: str | None = None,
) -> None:
    """Changes what is given; raises NotFound, and Conflict where the code is taken."""
    async with runtime.database.tenant(distributor_id) as connection:
        if not await customers.update_customer(
            connection,
            customer_id,
            business_name=business_name,
            customer_code=customer_code,
            now=runtime.clock(),
        ):
            raise NotFound


async def add_contact(
    runtime: Runtime, distributor_id: UUID, customer_id: UUID, contact: NewContact
) -> ContactRecord:
    """Gives a customer an address. One that was known to nobody's name comes with its conversations and its consent.

    Raises NotFound, InvalidInput for what is no address, and Conflict for a customer's.
    """
    (known,) = _normalised([contact])
    async with runtime.database.tenant(distributor_id) as connection:
        if await customers.read_customer(connection, customer_id) is None:
            raise NotFound
        return await _take(connection, runtime.new_id(), customer_id, known, runtime.clock())


async def remove_contact(runtime: Runtime, distributor_id: UUID, customer_id: UUID, contact_id: UUID) -> None:
    """Takes an address from a customer. The address stays with its consent and its messages: who opted out and is
    taken over by another customer, or writes again, has still opted out. Raises NotFound.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        if not await customers.release_contact(connection, customer_id, contact_id):
            raise NotFound


async def set_consent(
    runtime: Runtime,
    distributor_id: UUID,
    customer_id: UUID,
    contact_id: UUID,
    *,
    opted_out: bool,
    force: bool = False,
) -> ContactRecord:
    """Stops messages to an address, or opens it again, and tells of it. What the customer or the provider stopped is
    opened with ``force`` only. Raises NotFound, and WrongState without force.
    """
    async with runtime.database.tenant(distributor_id) as connection:
        changed = await customers.set_consent(
            connection, customer_id, contact_id, opted_out=opted_out, force=force, now=runtime.clock()
        )
        if changed is None:
            return await _unchanged(connection, customer_id, contact_id, opted_out=opted_out)
        data = {
            "customer_id": customer_id,
            "channel": changed.channel,
            "address": changed.address,
            "display_name": changed.display_name,
        }
        event_type = EventType.CUSTOMER_OPTED_OUT if opted_out else EventType.CUSTOMER_OPTED_IN
        await tell(connection, runtime, distributor_id, event_type, data)
        return changed


async def _unchanged(
    connection: Connection, customer_id: UUID, contact_id: UUID, *, opted_out: bool
) -> ContactRecord:
    contact = await customers.read_contact(connection, customer_id, contact_id)
    if contact is None:
        raise NotFound
    if (contact.opted_out_at is not None) != opted_out:
        raise WrongState(_NOT_STAFFS)
    return contact


async def assign_label(runtime: Runtime, distributor_id: UUID, customer_id: UUID, label_id: UUID) -> None:
    """Gives a customer a label, once; raises NotFound for either."""
    async with runtime.database.tenant(distributor_id) as connection:
        if not await labels.assign_label(connection, customer_id, label_id, runtime.clock()):
            raise NotFound


async def unassign_label(runtime: Runtime, distributor_id: UUID, customer_id: UUID, label_id: UUID) -> None:
    """Takes a label from a customer; raises NotFound where it did not bear it."""
    async with runtime.database.tenant(distributor_id) as connection:
        if not await labels.unassign_label(connection, customer_id, label_id):
            raise NotFound


def _normalised(contacts: Sequence[NewContact]) -> list[NewContact]:
    """With the addresses' one form, in the order in which rows are locked where messages come in, too."""
    known = {}
    for contact in contacts:
        try:
            address = normalise(contact.channel, contact.address)
        except MalformedPayload as error:
            raise InvalidInput(str(error), field="address") from None
        known[contact.channel.value, address] = NewContact(contact.channel, address, contact.display_name)
    if len(known) < len(contacts):
        raise InvalidInput("An address is given twice.", field="contacts")
    return [known[key] for key in sorted(known)]


async def _take(
    connection: Connection, contact_id: UUID, customer_id: UUID, contact: NewContact, now: datetime
) -> ContactRecord:
    taken = await customers.take_contact(
        connection,
        contact_id,
        customer_id,
        channel=contact.channel,
        address=contact.address,
        display_name=contact.display_name,
        now=now,
    )
    if taken is None:
        raise Conflict(_TAKEN)
    return taken
