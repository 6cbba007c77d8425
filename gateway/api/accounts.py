"""``/v1/channel-accounts``: the tenant's addresses at providers; credentials go in and never come out."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field

from channels.base import Channel, ChannelAdapter
from channels.credentials import described
from channels.errors import NotFound
from channels.registry import build_adapters
from db import accounts_admin
from db.rows import AccountRecord
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import (
    Answer,
    Body,
    JsonObject,
    Line,
    NoQuery,
    Page,
    PageQuery,
    Patch,
    absent,
    no_boolean,
)
from handlers import accounts

_PATH = "/v1/channel-accounts"
_ONE = f"{_PATH}/{{id}}"
_TAG = "channel accounts"


def _describe_credentials(adapters: Mapping[str, ChannelAdapter]) -> str:
    """What each provider's adapter says of its credentials, for the API's document."""
    lines = (f"- {name}: {described(adapter)}" for name, adapter in sorted(adapters.items()))
    return "The provider's secrets, write-only; their names depend on the provider.\n\n" + "\n".join(lines)


_CREDENTIALS = _describe_credentials(build_adapters())


class AccountSettings(Patch):
    """What may be set of an account. What is left out has its default."""

    sender_name: Annotated[Line, Field(max_length=100)] = absent(
        description="The name beside the address in mails. Default: none.", examples=["Bebidas del Valle"]
    )
    typing_indicator: bool = absent(
        description="Whether customers see that an answer is being written, where the provider can show it"
        " (WhatsApp). Default: true."
    )
    plus_addressing: bool = absent(
        description="Whether mails ask for replies to the address with a mark of the thread, `orders+…@`. `false` where"
        " the address's server takes none: replies then find their thread by their headers and the mark in the text."
        " Default: true."
    )
    rate_per_second: Annotated[float, Field(gt=0, le=1000), BeforeValidator(no_boolean)] = absent(
        description="How many messages a second are sent at most. Default: what the provider allows usually."
    )


class Account(Answer):
    """A channel account. Give `inbound_url` to the provider as the webhook of incoming messages."""

    id: UUID
    channel: Channel
    provider: str
    address: str
    settings: Mapping[str, Any]
    inbound_url: str
    status_url: str
    created_at: datetime
    updated_at: datetime


class AccountCreate(Body):
    """A channel account to be made."""

    channel: Channel
    provider: Line = Field(examples=["twilio"])
    address: Line = Field(description="E.164, or an e-mail address.", examples=["+5215512345678"])
    credentials: JsonObject = Field(
        description=_CREDENTIALS, examples=[{"account_sid": "AC…", "auth_token": "…"}], repr=False
    )
    settings: AccountSettings = Field(default_factory=AccountSettings)


class AccountPatch(Patch):
    """What may change of a channel account; credentials are replaced as a whole."""

    address: Line = absent()
    credentials: JsonObject = absent(description=_CREDENTIALS, repr=False)
    settings: AccountSettings = absent(description="Replaced as a whole.")


class AccountQuery(PageQuery):
    """Filters of the list."""

    channel: Channel | None = None
    provider: Line | None = None


async def list_accounts(call: Call[None, AccountQuery]) -> Page[Account]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    async with call.transaction() as connection:
        rows = await accounts_admin.list_accounts(
            connection, before, channel=query.channel, provider=query.provider, limit=query.limit + 1
        )
    return make_page(call, BY_ID, rows, (_account(call, row) for row in rows), Page[Account])


async def create_account(call: Call[AccountCreate, NoQuery]) -> Account:
    body = call.body
    record = await accounts.create_account(
        call.runtime,
        call.adapters,
        call.distributor_id,
        channel=body.channel,
        provider=body.provider,
        address=body.address,
        credentials=body.credentials,
        settings=body.settings.changes(),
    )
    return _account(call, record)


async def read_account(call: Call[None, NoQuery]) -> Account:
    async with call.transaction() as connection:
        record = await accounts_admin.read_account(connection, call.id)
    if record is None:
        raise NotFound
    return _account(call, record)


async def update_account(call: Call[AccountPatch, NoQuery]) -> Account:
    changes = call.body.changes()
    if "settings" in changes:
        changes["settings"] = changes["settings"].changes()
    record = await accounts.patch_account(call.runtime, call.adapters, call.distributor_id, call.id, changes)
    call.accounts.forget(call.id)
    return _account(call, record)


async def delete_account(call: Call[None, NoQuery]) -> None:
    await accounts.delete_account(call.runtime, call.distributor_id, call.id)
    call.accounts.forget(call.id)


def _account(call: Call[Any, Any], record: AccountRecord) -> Account:
    public_url = call.runtime.public_url
    return Account(
        id=record.id,
        channel=Channel(record.channel),
        provider=record.provider,
        address=record.address,
        settings=record.settings,
        inbound_url=accounts.inbound_url(public_url, record.provider, record.id),
        status_url=accounts.status_url(public_url, record.provider, record.id),
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List channel accounts",
        handle=list_accounts,
        query=AccountQuery,
        response=Page[Account],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a channel account",
        description="One provider, channel and address belong to one account.",
        handle=create_account,
        body=AccountCreate,
        response=Account,
        status=HTTPStatus.CREATED,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a channel account",
        handle=read_account,
        response=Account,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Change a channel account",
        handle=update_account,
        body=AccountPatch,
        response=Account,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=_ONE,
        tag=_TAG,
        summary="Delete a channel account; its inbound URL answers 404 from now on",
        handle=delete_account,
        status=HTTPStatus.NO_CONTENT,
    ),
)
