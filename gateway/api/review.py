"""``/v1/review-queue``: what needs a person, with the reason."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPMethod
from typing import Literal
from uuid import UUID

from pydantic import Field

from channels.base import Channel
from db import review
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, FROM_OLDEST, make_page, read_position
from gateway.api.schemas import Answer, Page, PageQuery
from handlers.handoff import HandoffReason
from handlers.webhooks.payloads import Number

Kind = Literal["MESSAGE", "ORDER"]
UNKNOWN = "handoff"


class ReviewItem(Answer):
    """An order, or a message for which its conversation waits for a person."""

    id: UUID = Field(description="The order's or the message's.")
    kind: Kind
    reasons: Sequence[str] = Field(
        description=(
            "Of an order those of its review, such as `low_confidence`. Of a message why its turn asked for a"
            f" person: {', '.join(f'`{reason}`' for reason in HandoffReason)}; `{UNKNOWN}` where nobody kept it."
        )
    )
    error_class: str | None = Field(
        description=f"With `{HandoffReason.ENGINE_ERROR}`: which kind of failure."
    )
    conversation_id: UUID | None
    customer_id: UUID | None
    customer_name: str | None
    channel: Channel
    message_id: UUID | None
    text: str | None = Field(description="The message's, or that of the message that the order began with.")
    order_id: UUID | None
    confidence: Number | None
    since: datetime


class ReviewQuery(PageQuery):
    """Filters of the queue."""

    kind: Kind | None = None
    channel: Channel | None = None
    sort: Literal["newest", "oldest"] = Field(default="newest", description="Which ones come first.")


async def list_review_queue(call: Call[None, ReviewQuery]) -> Page[ReviewItem]:
    query = call.query
    keyset = FROM_OLDEST if query.sort == "oldest" else BY_ID
    (position,) = read_position(call, keyset)
    async with call.transaction() as connection:
        rows = await review.list_review(
            connection,
            position,
            oldest_first=query.sort == "oldest",
            kind=query.kind,
            channel=query.channel,
            limit=query.limit + 1,
        )
    return make_page(call, keyset, rows, map(ReviewItem.model_validate, rows), Page[ReviewItem])


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path="/v1/review-queue",
        tag="review queue",
        summary="List what needs a person",
        description=(
            "Orders that require review, and conversations that wait for a person, each shown by the message"
            " that is the reason. An order leaves when it is edited, confirmed or cancelled, a conversation"
            " when a person takes it over or hands it back."
        ),
        handle=list_review_queue,
        query=ReviewQuery,
        response=Page[ReviewItem],
    ),
)
