"""The loop breaker: two machines that answer each other must stop, and a person find out.

What says that it is a machine's is not answered at all (``channels.mail_automated``). This is for all others.
"""

from datetime import timedelta
from uuid import UUID

from db import turns
from db.tenant import Connection
from handlers.runtime import Runtime

MOST_REPLIES = 5  # of turns to one contact of an account within PERIOD, in whichever threads
PERIOD = timedelta(hours=1)
MOST_EQUAL = 2  # answers with the same text, one after the other
EQUAL_PERIOD = timedelta(days=1)  # longer ago it was another talk: who says hello every day is a customer


async def would_loop(connection: Connection, runtime: Runtime, conversation_id: UUID, text: str) -> bool:
    """Whether one more answer is too many; the caller holds the conversation's lock and asks before it queues it."""
    now = runtime.clock()
    recent, repeated = await turns.count_replies(
        connection,
        conversation_id,
        since=now - PERIOD,
        text=text,
        latest=MOST_EQUAL,
        equal_since=now - EQUAL_PERIOD,
    )
    return recent >= MOST_REPLIES or repeated >= MOST_EQUAL
