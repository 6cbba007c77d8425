"""``/v1/customers``: who buys, and the addresses they write from."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod
from typing import Literal
from uuid import UUID

from pydantic import Field

from channels.base import Channel
from channels.errors import NotFound
from db import inbox
from db.rows import ContactRecord, CustomerRecord
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, grouped, make_page, read_position
from gateway.api.schemas import Answer, NoQuery, Page, PageQuery, SearchText

_PATH = "/v1/customers"
_TAG = "customers"
CustomerStatus = Literal["ORDERING", "AT_RISK", "STOPPED_ORDERING", "NO_ORDERS_YET"]


class Contact(Answer):
    """An address of a customer on a channel."""

    id: UUID
    channel: Channel
    address: str
    display_name: str | None
    opted_out_at: datetime | None = Field(description="Set: nothing may be sent to it.")
    last_inbound_at: datetime | None
    created_at: datetime


class Customer(Answer):
    """A business that buys from the tenant."""

    id: UUID
    business_name: str
    customer_code: str
    status: CustomerStatus
    contacts: Sequence[Contact]
    created_at: datetime
    updated_at: datetime


class CustomerQuery(PageQuery):
    """Filters of the list."""

    status: CustomerStatus | None = None
    q: SearchText | None = Field(default=None, description="A part of name, code or an address.")


async def list_customers(call: Call[None, CustomerQuery]) -> Page[Customer]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await inbox.list_customers(
            connection, before, status=query.status, text=query.q, limit=query.limit + 1
        )
        contacts = await inbox.list_contacts(connection, [row.id for row in rows])
    groups = grouped(contacts, "customer_id")
    items = (_customer(row, groups.get(row.id, ())) for row in rows)
    return make_page(call, BY_ID, rows, items, Page[Customer])


async def read_customer(call: Call[None, NoQuery]) -> Customer:
    async with call.transaction() as connection:
        row = await inbox.read_customer(connection, call.id)
        if row is None:
            raise NotFound
        return _customer(row, await inbox.list_contacts(connection, [row.id]))


def _customer(row: CustomerRecord, contacts: Sequence[ContactRecord]) -> Customer:
    return Customer.model_validate(
        {
            "id": row.id,
            "business_name": row.business_name,
            "customer_code": row.customer_code,
            "status": row.status,
            "contacts": [Contact.model_validate(contact) for contact in contacts],
            "created_at": row.created_at,
            "updated_at": row.updated_at,
        }
    )


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
        method=HTTPMethod.GET,
        path=f"{_PATH}/{{id}}",
        tag=_TAG,
        summary="Read a customer with its addresses",
        handle=read_customer,
        response=Customer,
    ),
)
