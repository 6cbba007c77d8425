"""``/v1/conversations``: the inbox."""

from datetime import datetime
from http import HTTPMethod
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from channels.base import Channel
from channels.errors import NotFound
from db import inbox
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_LAST_MESSAGE, make_page, read_position
from gateway.api.schemas import Answer, NoQuery, Page, PageQuery, Patch, SearchText, absent
from handlers import conversations
from handlers.handoff import Handoff
from handlers.webhooks.payloads import ConversationStatus

_PATH = "/v1/conversations"
_ONE = f"{_PATH}/{{id}}"
_TAG = "conversations"
# In lower case here and nowhere else.
ShownHandoff = Annotated[Literal["bot", "waiting_human", "human"], BeforeValidator(str.lower)]


class Conversation(Answer):
    """A conversation with one address of a customer."""

    id: UUID
    channel: Channel
    channel_account_id: UUID
    status: ConversationStatus
    handoff: ShownHandoff = Field(
        description=(
            "Who answers. waiting_human: a person was asked for; while that is only for the answer to a question, orders"
            " are still answered by themselves."
        )
    )
    language: str | None
    customer_id: UUID | None
    customer_name: str | None
    contact_address: str
    contact_name: str | None
    unread_count: int
    last_message_at: datetime
    created_at: datetime


class ConversationPatch(Patch):
    """What people may change: archive or open, take over (human) or hand back (bot)."""

    status: ConversationStatus = absent()
    handoff: Literal["bot", "human"] = absent()

    def changes(self) -> dict[str, Any]:
        """The fields that were given, the hand-off as it is stored."""
        changes = super().changes()
        return changes | ({"handoff": Handoff(self.handoff.upper())} if "handoff" in changes else {})


class ConversationQuery(PageQuery):
    """Filters of the list."""

    channel: Channel | None = None
    status: ConversationStatus | None = None
    unread: bool | None = Field(
        default=None, description="true: only with unread messages; false: only without."
    )
    customer_id: UUID | None = None
    q: SearchText | None = Field(default=None, description="A part of the address or of a name.")


async def list_conversations(call: Call[None, ConversationQuery]) -> Page[Conversation]:
    last_message_at, before = read_position(call, BY_LAST_MESSAGE)
    query = call.query
    async with call.transaction() as connection:
        rows = await inbox.list_conversations(
            connection,
            (last_message_at, before),
            channel=query.channel,
            status=query.status,
            unread=query.unread,
            customer_id=query.customer_id,
            text=query.q,
            limit=query.limit + 1,
        )
    return make_page(call, BY_LAST_MESSAGE, rows, map(Conversation.model_validate, rows), Page[Conversation])


async def read_conversation(call: Call[None, NoQuery]) -> Conversation:
    async with call.transaction() as connection:
        record = await inbox.read_conversation(connection, call.id)
    if record is None:
        raise NotFound
    return Conversation.model_validate(record)


async def update_conversation(call: Call[ConversationPatch, NoQuery]) -> Conversation:
    record = await conversations.patch_conversation(
        call.runtime, call.distributor_id, call.id, **call.body.changes()
    )
    return Conversation.model_validate(record)


async def mark_conversation_read(call: Call[None, NoQuery]) -> Conversation:
    record = await conversations.mark_read(call.runtime, call.distributor_id, call.id)
    return Conversation.model_validate(record)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List conversations by their last message",
        handle=list_conversations,
        query=ConversationQuery,
        response=Page[Conversation],
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a conversation",
        handle=read_conversation,
        response=Conversation,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Archive or open a conversation, take it over or hand it back",
        handle=update_conversation,
        body=ConversationPatch,
        response=Conversation,
    ),
    Operation(
        method=HTTPMethod.POST,
        path=f"{_ONE}/read",
        tag=_TAG,
        summary="Mark a conversation as read",
        handle=mark_conversation_read,
        response=Conversation,
    ),
)
