"""What people do to a conversation: archive it, open it again, take it over, hand it back."""

from uuid import UUID

from channels.errors import NotFound
from db import inbox
from db.rows import ConversationRecord
from db.tenant import Connection
from handlers.handoff import Handoff
from handlers.runtime import Runtime
from handlers.webhooks.event_types import EventType
from handlers.webhooks.outbox import tell

TAKEN_OVER = "taken_over"  # the reason where a person takes a conversation without being asked


async def patch_conversation(
    runtime: Runtime,
    distributor_id: UUID,
    conversation_id: UUID,
    *,
    status: str | None = None,
    handoff: Handoff | None = None,
) -> ConversationRecord:
    """The conversation with what is given; a change between bot and person is an event. Raises NotFound."""
    async with runtime.database.tenant(distributor_id) as connection:
        before = await inbox.change_conversation(connection, conversation_id, status=status, handoff=handoff)
        record = await inbox.read_conversation(connection, conversation_id)
        if before is None or record is None:
            raise NotFound
        if (before == Handoff.BOT) != (record.handoff == Handoff.BOT):
            await _tell_handoff(runtime, connection, distributor_id, record)
    return record


async def mark_read(runtime: Runtime, distributor_id: UUID, conversation_id: UUID) -> ConversationRecord:
    """The conversation, nothing in it unread. Raises NotFound."""
    async with runtime.database.tenant(distributor_id) as connection:
        await inbox.mark_read(connection, conversation_id)
        record = await inbox.read_conversation(connection, conversation_id)
    if record is None:
        raise NotFound
    return record


async def _tell_handoff(
    runtime: Runtime, connection: Connection, distributor_id: UUID, record: ConversationRecord
) -> None:
    ended = record.handoff == Handoff.BOT
    data = {
        "conversation_id": record.id,
        "customer_id": record.customer_id,
        "channel": record.channel,
        "status": record.status,
        **({} if ended else {"reason": TAKEN_OVER}),
    }
    event_type = EventType.CONVERSATION_HANDOFF_ENDED if ended else EventType.CONVERSATION_HANDOFF_REQUESTED
    await tell(connection, runtime, distributor_id, event_type, data, conversation_id=record.id)
