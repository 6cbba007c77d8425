"""``GET /v1/messages`` looks for words; ``GET /v1/unread`` counts what nobody has read."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod
from uuid import UUID

from pydantic import Field

from channels.base import Channel, MessageStatus, MessageType
from db import inbox, message_search
from db.message_search import FoundMessage
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.periods import read_period
from gateway.api.schemas import Answer, Moment, NoQuery, Page, PageQuery, SearchText
from handlers.webhooks.payloads import Direction

_MOST_DAYS = 92
_AROUND = 60  # characters of an excerpt on each side of the words


class MessageHit(Answer):
    """A message that holds the words."""

    id: UUID
    conversation_id: UUID
    customer_id: UUID | None
    customer_name: str | None
    channel: Channel
    direction: Direction
    type: MessageType
    status: MessageStatus
    excerpt: str = Field(description="The words with what stands around them.")
    text: str
    created_at: datetime


class SearchQuery(PageQuery):
    """What is looked for, and where."""

    q: SearchText | None = Field(
        default=None, description="The words, as they stand in the message; capitals do not matter."
    )
    customer_id: UUID | None = None
    since: Moment | None = Field(default=None, description="Inclusive; absent: 30 days before the end.")
    until: Moment | None = Field(default=None, description="Exclusive; absent: now.")


class UnreadChannel(Answer):
    """What is unread on a channel."""

    channel: Channel
    conversations: int
    messages: int


class Unread(Answer):
    """What is unread."""

    conversations: int
    messages: int
    channels: Sequence[UnreadChannel] = Field(description="A channel without any is not named.")


async def search_messages(call: Call[None, SearchQuery]) -> Page[MessageHit]:
    (before,) = read_position(call, BY_ID)
    query = call.query
    since, until = read_period(query.since, query.until, call.runtime.clock(), most_days=_MOST_DAYS)
    async with call.transaction() as connection:
        rows = await message_search.search_messages(
            connection,
            before,
            text=query.q,
            customer_id=query.customer_id,
            since=since,
            until=until,
            limit=query.limit + 1,
        )
    return make_page(call, BY_ID, rows, (_hit(row, query.q or "") for row in rows), Page[MessageHit])


async def read_unread(call: Call[None, NoQuery]) -> Unread:
    async with call.transaction() as connection:
        rows = await inbox.list_unread(connection)
    return Unread(
        conversations=sum(row.conversations for row in rows),
        messages=sum(row.messages for row in rows),
        channels=[UnreadChannel.model_validate(row) for row in rows],
    )


def _hit(row: FoundMessage, words: str) -> MessageHit:
    fields = {name: getattr(row, name) for name in FoundMessage.__slots__}
    return MessageHit.model_validate({**fields, "excerpt": _excerpt(row.text, words)})


def _excerpt(text: str, words: str) -> str:
    """Where the database folds a letter otherwise than Python does, the text's beginning."""
    place = max(text.lower().find(words.lower()), 0)
    begin, end = max(place - _AROUND, 0), place + len(words) + _AROUND
    return ("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path="/v1/messages",
        tag="messages",
        summary="Look for words in messages",
        description=f"At most {_MOST_DAYS} days at once, by the time at which the message was stored.",
        handle=search_messages,
        query=SearchQuery,
        response=Page[MessageHit],
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/v1/unread",
        tag="conversations",
        summary="Count what is unread, by channel",
        handle=read_unread,
        response=Unread,
    ),
)
