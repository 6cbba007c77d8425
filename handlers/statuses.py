"""What became of our messages: one total order of statuses per provider, so that a late word never lowers
one.
"""

from collections.abc import Mapping
from types import MappingProxyType

from channels.base import Channel, MessageStatus

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


def status_rank(channel: Channel, status: MessageStatus) -> int:
    """Where a status of an outbound message stands on its channel, from 1; a higher one wins, whenever it
    comes.
    """
    return _ORDERS[channel].index(status) + 1
