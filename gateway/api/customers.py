"""``/v1/customers``: who buys, what they come to, their addresses and labels."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from channels.base import Channel
from channels.errors import NotFound
from db import customers as rows_of
from db import labels
from db.rows import CustomerRecord
from db.tenant import Connection
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, grouped, make_page, read_position
from gateway.api.schemas import Answer, Body, Line, NoQuery, Page, PageQuery, Patch, SearchText, absent
from handlers import customers
from handlers.customers import NewContact
from handlers.webhooks.payloads import Number

_PATH = "/v1/customers"
_ONE = f"{_PATH}/{{id}}"
_TAG = "customers"
_MAX_CONTACTS = 20
OptOutReason = Literal["keyword", "provider", "bounce", "complaint", "unsubscribe", "manual"]
CustomerStatus = Literal["ORDERING", "AT_RISK", "STOPPED_ORDERING", "NO_ORDERS_YET"]


class Contact(Answer):
    """An address of a customer on a channel."""

    id: UUID
    channel: Channel
    address: str
    display_name: str | None
    opted_out_at: datetime | None = Field(description="Set: nothing may be sent to it.")
    opt_out_reason: OptOutReason | None = Field(
        description="What stopped messages to it; null where nothing did, or it was not kept."
    )
    last_inbound_at: datetime | None
    created_at: datetime


class CustomerLabel(Answer):
    """A label that a customer bears."""

    id: UUID
    name: str
    color: str


class Customer(Answer):
    """A business that buys from the tenant."""

    id: UUID
    business_name: str
    customer_code: str
    status: CustomerStatus
    total_orders: int = Field(description="Orders that the customer stands by: CONFIRMED or DELIVERED.")
    total_spent: Number = Field(description="What those in the tenant's currency come to.")
    last_ordered_at: datetime | None
    expected_order_at: datetime | None = Field(
        description="The last order plus the usual wait between orders; null with fewer than three."
    )
    contacts: Sequence[Contact]
    labels: Sequence[CustomerLabel]
    created_at: datetime
    updated_at: datetime


class Statistics(Answer):
    """What a customer did lately."""

    orders_30_days: int = Field(description="CONFIRMED or DELIVERED.")
    average_order: Number | None = Field(description="Of all orders in the tenant's currency.")
    active_conversations_7_days: int


class CustomerDetail(Customer):
    """A customer with its statistics."""

    statistics: Statistics


class ContactCreate(Body):
    """An address to be a customer's."""

    channel: Channel
    address: Line = Field(examples=["+5215512345678"])
    display_name: Line | None = None

    def as_new(self) -> NewContact:
        return NewContact(self.channel, self.address, self.display_name)


class CustomerCreate(Body):
    """A customer to be made."""

    business_name: Line = Field(examples=["Abarrotes Lupita"])
    customer_code: Line | None = Field(default=None, description="Absent or null: one is made.")
    contacts: Annotated[list[ContactCreate], Field(min_length=1, max_length=_MAX_CONTACTS)]


class CustomerPatch(Patch):
    """What may change of a customer."""

    business_name: Line = absent()
    customer_code: Line = absent()


class ContactPatch(Body):
    """Whether an address may be written to."""

    opted_out: bool
    force: bool = Field(
        default=False,
        description=(
            "Opens an address that the customer or the provider stopped (any reason but `manual`): only where the customer"
            " asked for it in another way, or a mailbox that bounced is there again."
        ),
    )


class CustomerQuery(PageQuery):
    """Filters of the list."""

    status: CustomerStatus | None = None
    label_id: UUID | None = None
    q: SearchText | None = Field(default=None, description="A part of name, code or an address.")


async def list_customers(call: Call[None, CustomerQuery]) -> Page[Customer]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await rows_of.list_customers(
            connection,
            before,
            status=query.status,
            label_id=query.label_id,
            text=query.q,
            limit=query.limit + 1,
        )
        items = [Customer.model_validate(fields) for fields in await _with_parts(connection, rows)]
    return make_page(call, BY_ID, rows, items, Page[Customer])


async def create_customer(call: Call[CustomerCreate, NoQuery]) -> CustomerDetail:
    customer_id = await customers.create_customer(
        call.runtime,
        call.distributor_id,
        business_name=call.body.business_name,
        customer_code=call.body.customer_code,
        contacts=[contact.as_new() for contact in call.body.contacts],
    )
    return await _load(call, customer_id)


async def read_customer(call: Call[None, NoQuery]) -> CustomerDetail:
    return await _load(call, call.id)


async def update_customer(call: Call[CustomerPatch, NoQuery]) -> CustomerDetail:
    await customers.patch_customer(call.runtime, call.distributor_id, call.id, **call.body.changes())
    return await _load(call, call.id)


async def list_contacts(call: Call[None, PageQuery]) -> Page[Contact]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        if await rows_of.read_customer(connection, call.id) is None:
            raise NotFound
        rows = await rows_of.list_contacts_of(connection, call.id, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, map(Contact.model_validate, rows), Page[Contact])


async def add_contact(call: Call[ContactCreate, NoQuery]) -> Contact:
    added = await customers.add_contact(call.runtime, call.distributor_id, call.id, call.body.as_new())
    return Contact.model_validate(added)


async def update_contact(call: Call[ContactPatch, NoQuery]) -> Contact:
    changed = await customers.set_consent(
        call.runtime, call.distributor_id, call.id, call.part_id, **call.body.model_dump()
    )
    return Contact.model_validate(changed)


async def remove_contact(call: Call[None, NoQuery]) -> None:
    await customers.remove_contact(call.runtime, call.distributor_id, call.id, call.part_id)


async def assign_label(call: Call[None, NoQuery]) -> None:
    await customers.assign_label(call.runtime, call.distributor_id, call.id, call.part_id)


async def unassign_label(call: Call[None, NoQuery]) -> None:
    await customers.unassign_label(call.runtime, call.distributor_id, call.id, call.part_id)


async def _load(call: Call[Any, Any], customer_id: UUID) -> CustomerDetail:
    async with call.transaction() as connection:
        row = await rows_of.read_customer(connection, customer_id)
        if row is None:
            raise NotFound
        (fields,) = await _with_parts(connection, [row])
        figures = await rows_of.read_statistics(connection, customer_id, call.runtime.clock())
    return CustomerDetail.model_validate({**fields, "statistics": Statistics.model_validate(figures)})


async def _with_parts(connection: Connection, rows: Sequence[CustomerRecord]) -> Sequence[Mapping[str, Any]]:
    """The fields of customers, each with its addresses and labels."""
    ids = [row.id for row in rows]
    contacts = grouped(await rows_of.list_contacts(connection, ids), "customer_id")
    borne = grouped(await labels.list_labels_of(connection, ids), "customer_id")
    return [
        {
            **{name: getattr(row, name) for name in CustomerRecord.__slots__},
            "contacts": [Contact.model_validate(contact) for contact in contacts.get(row.id, ())],
            "labels": [CustomerLabel.model_validate(label) for label in borne.get(row.id, ())],
        }
        for row in rows
    ]


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List customers",
        handle=list_customers,
        query=CustomerQuery,
        response=Page[Customer],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a customer with its addresses",
        description="409 where the code or an address is a customer's already.",
        handle=create_customer,
        body=CustomerCreate,
        response=CustomerDetail,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a customer with its addresses and statistics",
        handle=read_customer,
        response=CustomerDetail,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Rename a customer",
        handle=update_customer,
        body=CustomerPatch,
        response=CustomerDetail,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path=f"{_ONE}/contacts",
        tag=_TAG,
        summary="List a customer's addresses",
        handle=list_contacts,
        query=PageQuery,
        response=Page[Contact],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/contacts",
        tag=_TAG,
        summary="Give a customer an address",
        description=(
            "An address that wrote before or was taken from a customer comes with its conversations and its"
            " consent. 409 where it is a customer's."
        ),
        handle=add_contact,
        body=ContactCreate,
        response=Contact,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=f"{_ONE}/contacts/{{contact_id}}",
        tag=_TAG,
        summary="Stop messages to an address, or open it again",
        description="409 (`wrong_state`) for opening without `force` what staff did not stop.",
        handle=update_contact,
        body=ContactPatch,
        response=Contact,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=f"{_ONE}/contacts/{{contact_id}}",
        tag=_TAG,
        summary="Take an address from a customer",
        description="Its messages and its consent stay with the address.",
        handle=remove_contact,
        status=HTTPStatus.NO_CONTENT,
    ),
    Operation(
        method=HTTPMethod.PUT,
        path=f"{_ONE}/labels/{{label_id}}",
        tag=_TAG,
        summary="Give a customer a label",
        handle=assign_label,
        status=HTTPStatus.NO_CONTENT,
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=f"{_ONE}/labels/{{label_id}}",
        tag=_TAG,
        summary="Take a label from a customer",
        handle=unassign_label,
        status=HTTPStatus.NO_CONTENT,
    ),
)
