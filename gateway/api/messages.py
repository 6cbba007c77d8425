"""Messages: of a conversation, one by one with all that is known, and new ones to a customer."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from channels.base import Attachment as FileToSend
from channels.base import Channel, MessageStatus, MessageType, ReplyButton
from channels.errors import NotFound
from db import inbox
from db.rows import AttachmentRecord, MessageRecord
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, grouped, make_page, read_position
from gateway.api.schemas import Answer, Body, Line, NoQuery, Page, PageQuery, TemplateLanguage
from handlers.media import FileState
from handlers.media_links import make_link
from handlers.outbound import Priority, queue_message
from handlers.templates import FilledTemplate, fill_template
from handlers.webhooks.payloads import Direction, Number

_THREAD = "/v1/conversations/{id}/messages"
_TAG = "messages"
_MAX_TEXT = 65_536  # characters; what a provider takes is the provider's to say
_MAX_FILES = 10


class Attachment(Answer):
    """A file of a message."""

    id: UUID
    filename: str | None = Field(description="As its sender called it.")
    content_type: str = Field(
        description="What its bytes say it is; until it is stored, what its sender says."
    )
    size_bytes: int | None = Field(description="Once it is known.")
    state: FileState = Field(
        description=(
            "PENDING until it is fetched from the provider, then STORED; LINKED is a file to be sent, by the address that"
            " you gave. UNAVAILABLE, TOO_LARGE and INFECTED are final: there is no file."
        )
    )
    scanned: bool = Field(description="Whether a scanner found it clean; false where none is configured.")
    url: str | None = Field(
        description="Of a STORED file a link that needs no key and ends after 15 minutes."
    )


class Message(Answer):
    """A message in or out."""

    id: UUID
    conversation_id: UUID
    channel: Channel
    direction: Direction
    type: MessageType
    status: MessageStatus
    text: str
    attachments: Sequence[Attachment]
    provider_message_id: str | None
    reply_to_provider_id: str | None = Field(
        description="The provider's id of the message that this one answers, where the customer quoted one."
    )
    error_code: str | None
    customer_id: UUID | None
    ai_processed: bool = Field(description="False only while an incoming message awaits its turn.")
    metadata: Mapping[str, Any] = Field(
        description=(
            "What its type adds: a location, a button's payload. On a reply that shows an order, `shows` says which, and"
            " as of when."
        )
    )
    created_at: datetime
    updated_at: datetime


class StatusChange(Answer):
    """A status that was told; `applied` is false for one that came too late."""

    status: str
    provider_status: str
    error_code: str | None
    applied: bool
    occurred_at: datetime
    part: int | None = Field(
        description="Of a message that left in several of the provider's: which of them, from 1; else null."
    )
    provider_message_id: str | None = Field(description="The provider's id of what it was told of.")


class Analysis(Answer):
    """What an engine made of the burst that ended with this message."""

    id: UUID
    status: str
    engine: str
    engine_version: str
    model: str | None
    intent: str | None
    language: str | None
    confidence: Number | None
    extracted_data: Mapping[str, Any]
    error_class: str | None
    input_tokens: int
    cached_tokens: int = Field(description="Of the input tokens, those that the model had cached.")
    output_tokens: int
    cost_micro_usd: int
    request_id: str | None = Field(
        description="The model provider's name for the call; its support asks for it."
    )
    processing_ms: int
    created_at: datetime


class MessageDetail(Message):
    """A message with its status history and its analysis."""

    status_history: Sequence[StatusChange] = Field(description="The oldest first.")
    ai_analysis: Analysis | None = Field(description="At the last message of a burst; else null.")


class NewAttachment(Body):
    """A file to be sent; the provider fetches it."""

    url: str = Field(pattern=r"^https?://[!-~]+$", max_length=2048)
    content_type: Line = Field(default="application/octet-stream", examples=["image/jpeg"])
    filename: Line | None = None


class NewButton(Body):
    """A button under the message; a press comes in as a BUTTON_REPLY with the title as its text."""

    id: Annotated[Line, Field(max_length=256, examples=["confirm"])]
    title: Annotated[Line, Field(max_length=20, examples=["Sí, confirmo"])]


class TemplateUse(Body):
    """A template to be sent, with what its variables are to be."""

    name: Line = Field(examples=["pedido_en_camino"])
    language: TemplateLanguage | None = Field(
        default=None, description="Absent or null: the conversation's, else the tenant's."
    )
    variables: Annotated[dict[str, Line], Field(default_factory=dict, examples=[{"nombre": "Lupita"}])]


class MessageCreate(Body):
    """A message to be sent: text, files or both; or a template."""

    text: str = Field(default="", max_length=_MAX_TEXT, examples=["Su pedido sale mañana."])
    attachments: Annotated[list[NewAttachment], Field(max_length=_MAX_FILES, default_factory=list)]
    template: TemplateUse | None = Field(
        default=None,
        description=(
            "In the place of text and files. Its text is filled in; over WhatsApp it leaves as the provider's approved"
            " template, which also passes the 24 hours. 422 with `template_not_found`, `variable_missing`,"
            " `variable_unknown`, `template_not_approved` or `template_without_provider_id`."
        ),
    )
    buttons: Annotated[
        list[NewButton],
        Field(
            max_length=3,
            default_factory=list,
            description="Under a text; where the provider shows none, or not under this text, their titles stand as its last"
            " lines.",
        ),
    ]
    priority: Priority = Field(
        default=Priority.NORMAL,
        description="`bulk` is for messages to many: the account's other messages overtake them, for ten minutes at most.",
    )

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        has_content = bool(self.text.strip() or self.attachments)
        if self.template is not None and has_content:
            raise ValueError("a template has neither text nor attachments beside it")
        if self.template is None and not has_content:
            raise ValueError("text or attachments must be given")
        if self.buttons and not self.text.strip():
            raise ValueError("buttons stand under a text")
        return self


async def list_messages(call: Call[None, PageQuery]) -> Page[Message]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        if await inbox.read_conversation(connection, call.id) is None:
            raise NotFound
        rows = await inbox.list_messages(connection, call.id, before, call.query.limit + 1)
        files = await inbox.list_attachments(connection, [row.id for row in rows])
    groups = grouped(files, "message_id")
    items = (_message(call, row, groups.get(row.id, ())) for row in rows)
    return make_page(call, BY_ID, rows, items, Page[Message])


async def create_message(call: Call[MessageCreate, NoQuery]) -> MessageDetail:
    body = call.body
    files = [FileToSend(file.url, file.content_type, file.filename) for file in body.attachments]
    async with call.transaction() as connection:
        one = call.joined(connection)  # read before a worker can have it: what is answered is QUEUED
        content = await _content(one, body)
        message_id = await queue_message(
            one.runtime,
            call.adapters,
            call.distributor_id,
            call.id,
            text=content.text,
            attachments=files,
            template=content.template,
            buttons=[ReplyButton(button.id, button.title) for button in body.buttons],
            priority=body.priority,
        )
        return await _load_message(one, message_id)


async def _content(call: Call[Any, Any], body: MessageCreate) -> FilledTemplate:
    asked = body.template
    if asked is None:
        return FilledTemplate(body.text, None)
    return await fill_template(
        call.runtime,
        call.distributor_id,
        call.id,
        name=asked.name,
        language=asked.language,
        variables=asked.variables,
    )


async def read_message(call: Call[None, NoQuery]) -> MessageDetail:
    return await _load_message(call, call.id)


async def _load_message(call: Call[Any, Any], message_id: UUID) -> MessageDetail:
    async with call.transaction() as connection:
        row = await inbox.read_message(connection, message_id)
        if row is None:
            raise NotFound
        files = await inbox.list_attachments(connection, [message_id])
        statuses = await inbox.list_statuses(connection, message_id)
        analysis = await inbox.read_analysis(connection, message_id)
    return MessageDetail(
        **_message(call, row, files).model_dump(),
        status_history=[StatusChange.model_validate(status) for status in statuses],
        ai_analysis=Analysis.model_validate(analysis) if analysis else None,
    )


def _message(call: Call[Any, Any], row: MessageRecord, files: Sequence[AttachmentRecord]) -> Message:
    return Message(
        id=row.id,
        conversation_id=row.conversation_id,
        channel=Channel(row.channel),
        direction=Direction(row.direction),
        type=MessageType(row.type),
        status=MessageStatus(row.status),
        text=row.text,
        attachments=[_attachment(call, file) for file in files],
        provider_message_id=row.provider_message_id,
        reply_to_provider_id=row.reply_to_provider_id,
        error_code=row.error_code,
        customer_id=row.customer_id,
        ai_processed=row.ai_processed,
        metadata=row.metadata,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _attachment(call: Call[Any, Any], file: AttachmentRecord) -> Attachment:
    state = FileState(file.state)
    urls = {
        FileState.STORED: lambda: make_link(call.runtime, call.distributor_id, file.id),
        FileState.LINKED: lambda: file.url,
    }
    return Attachment(
        id=file.id,
        filename=file.filename,
        content_type=file.sniffed_type or file.content_type,
        size_bytes=file.size_bytes,
        state=state,
        scanned=file.scanned_at is not None,
        url=urls.get(state, lambda: None)(),
    )


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_THREAD,
        tag=_TAG,
        summary="List a conversation's messages",
        handle=list_messages,
        query=PageQuery,
        response=Page[Message],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_THREAD,
        tag=_TAG,
        summary="Send a message to the customer",
        description=(
            "Answered once the message is stored as QUEUED. Refused (409) with `opted_out`, or"
            " `window_closed` where WhatsApp's 24 hours since the customer's last message are over: then only a"
            " template may be sent."
        ),
        handle=create_message,
        body=MessageCreate,
        response=MessageDetail,
        status=HTTPStatus.ACCEPTED,
        errors=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/v1/messages/{id}",
        tag=_TAG,
        summary="Read a message with its status history and analysis",
        handle=read_message,
        response=MessageDetail,
    ),
)
