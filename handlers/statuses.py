"""What became of our messages: one total order of statuses per channel, so that a late word never lowers one; and words
that come before the message that they are of is known.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from channels.base import Channel, MessageStatus
from db.accept import Item
from db.statuses import (
    AcceptedStatus,
    ParkedKey,
    Ranks,
    accept_statuses,
    learn_opt_outs,
    lock_messages,
    lock_parked_keys,
    take_parked,
)
from db.tenant import Connection
from handlers.runtime import Runtime

_CHAT_ORDER = (
    MessageStatus.QUEUED,
    MessageStatus.SENDING,
    MessageStatus.SENT,
    MessageStatus.FAILED,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
)
# A mail can bounce hours after its server took it.
_EMAIL_ORDER = (
    MessageStatus.QUEUED,
    MessageStatus.SENDING,
    MessageStatus.SENT,
    MessageStatus.DELIVERED,
    MessageStatus.READ,
    MessageStatus.FAILED,
)
_ORDERS: Mapping[Channel, tuple[MessageStatus, ...]] = MappingProxyType(
    {Channel.SMS: _CHAT_ORDER, Channel.WHATSAPP: _CHAT_ORDER, Channel.EMAIL: _EMAIL_ORDER}
)


STATUS_RANKS: Ranks = MappingProxyType(
    {
        channel.value: {status.value: rank for rank, status in enumerate(order, 1)}
        for channel, order in _ORDERS.items()
    }
)


def status_rank(channel: Channel, status: MessageStatus) -> int:
    """Where a status of an outbound message stands on its channel, from 1; a higher one wins, whenever it
    comes.
    """
    return STATUS_RANKS[channel][status]


async def settle_statuses(connection: Connection, items: Sequence[Item]) -> list[AcceptedStatus]:
    """Stores statuses in the caller's transaction, with what they say of a recipient's consent; those of no known
    message wait for it.
    """
    await lock_parked_keys(connection, items)
    refused = [item for item in items if item["opt_out_event"]]
    told = await learn_opt_outs(connection, refused) if refused else []
    await lock_messages(connection, items)
    return await accept_statuses(connection, items, STATUS_RANKS, told)


async def apply_parked(
    runtime: Runtime, distributor_id: UUID, channel_account_id: UUID, provider_message_id: str
) -> int:
    """Applies what was told of a message before its id was known; gives back how many words. To be called once the id
    is committed: whoever parks a word at the same moment is waited for, or finds the message.
    """
    key = ParkedKey(distributor_id, channel_account_id, provider_message_id)
    async with runtime.database.worker() as connection:
        items = await take_parked(connection, key)
        if items:
            await settle_statuses(connection, items)
    return len(items)
