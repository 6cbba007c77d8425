"""The loop breaker: two machines that answer each other must stop, and a person find out.

What says that it is a machine's is not answered at all (``channels.mail_automated``). This is for all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from channels.base import Channel
from db import turns
from db.tenant import Connection
from handlers.runtime import Runtime


@dataclass(frozen=True, slots=True)
class LoopLimits:
    """Most answers of turns to one contact of an account within ``period``, in whichever threads; and most with the same
    words, one after the other, within ``equal_period``: longer ago it was another talk, for who says hello every day is a
    customer.
    """

    answers: int
    period: timedelta
    equal: int
    equal_period: timedelta


# Who chats writes many short messages, and the same again when nothing seems to happen. A mail is a letter: the third
# answer of the same words is one to a machine.
_CHAT = LoopLimits(60, timedelta(hours=1), 5, timedelta(hours=1))
_MAIL = LoopLimits(10, timedelta(hours=1), 2, timedelta(days=1))
LIMITS: Mapping[Channel, LoopLimits] = MappingProxyType(
    {Channel.SMS: _CHAT, Channel.WHATSAPP: _CHAT, Channel.EMAIL: _MAIL}
)


async def would_loop(
    connection: Connection, runtime: Runtime, channel: Channel, conversation_id: UUID, text: str
) -> bool:
    """Whether one more answer is too many; the caller holds the conversation's lock and asks before it queues it."""
    now, limits = runtime.clock(), LIMITS[channel]
    recent, repeated = await turns.count_replies(
        connection,
        conversation_id,
        since=now - limits.period,
        text=text,
        latest=limits.equal,
        equal_since=now - max(limits.equal_period, limits.period),
    )
    return recent >= limits.answers or repeated >= limits.equal
