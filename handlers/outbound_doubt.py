"""A send of which nobody knows whether the provider took it: when there may be a second try, and when no more."""

from datetime import datetime, timedelta

from channels.abilities import IdempotentSends, SentLookup
from channels.base import ChannelAccount, ChannelAdapter, OutboundMessage, SendReceipt
from channels.errors import OutcomeStaysUnknown, OutcomeUnknown, Temporary
from handlers.outbound_outcome import Attempt

# How long a provider that can neither be asked nor told that it is the same message has for a status callback: it carries
# our id and settles the message. Meta tells `sent`, and mail providers `processed` or `delivered`, within seconds.
WAIT_FOR_WORD = timedelta(seconds=60)
# Then it is sent once more; a third copy would be worse than a message that a person must look after.
MOST_UNKNOWN = 2


async def find_earlier(
    adapter: ChannelAdapter,
    account: ChannelAccount,
    attempt: Attempt,
    part: OutboundMessage,
    since: datetime,
) -> SendReceipt | None:
    """What the provider has of a try since then, where it can be asked. Raises OutcomeUnknown or Permanent."""
    if not isinstance(adapter, SentLookup):
        return None
    try:
        return await adapter.find_sent(account, part, since, attempt.known_ids)
    except Temporary as error:
        # Not being able to ask leaves the outcome as unknown as it was.
        raise OutcomeUnknown(retry_after=error.retry_after) from error


def may_try_again_at(
    adapter: ChannelAdapter, attempt: Attempt, since: datetime, now: datetime
) -> datetime | None:
    """When there may be another try after one ``since`` of unknown outcome; None: now.

    Now, where the provider was asked (SentLookup) or still knows our id as the key of the send (IdempotentSends). Raises
    OutcomeStaysUnknown after as many unknown tries as may be.
    """
    if isinstance(adapter, SentLookup):
        return None
    if isinstance(adapter, IdempotentSends) and now < since + adapter.repeatable_for:
        return None
    due_at = since + WAIT_FOR_WORD * attempt.row.unknown
    if now < due_at:
        return due_at
    if attempt.row.unknown >= MOST_UNKNOWN:
        raise OutcomeStaysUnknown
    return None
