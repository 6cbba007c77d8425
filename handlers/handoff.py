"""Who answers in a conversation, in the words of the database; the API says the same in lower case."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from handlers.ai.types import Intent


class Handoff(StrEnum):
    """BOT: the system answers by itself. WAITING_HUMAN: a person was asked for. HUMAN: a person took over."""

    BOT = "BOT"
    WAITING_HUMAN = "WAITING_HUMAN"
    HUMAN = "HUMAN"


class HandoffReason(StrEnum):
    """Why a person is asked for; part of ``conversation.handoff_requested``."""

    CUSTOMER_ASKED = "customer_asked"
    COMPLAINT = "complaint"
    CANCEL_REQUESTED = "cancel_requested"  # of an order that is not open any more
    QUESTION = "question"
    FOLLOW_UP = "follow_up"
    ENGINE_ERROR = "engine_error"
    OUTCOME_UNKNOWN = "outcome_unknown"  # of a message to the customer that perhaps arrived
    LOOP = "loop"  # too many answers, or the same one again: perhaps a machine writes (``handlers.loops``)


REASONS: Mapping[Intent, HandoffReason] = MappingProxyType(
    {
        Intent.HANDOFF: HandoffReason.CUSTOMER_ASKED,
        Intent.COMPLAINT: HandoffReason.COMPLAINT,
        Intent.QUESTION: HandoffReason.QUESTION,
        Intent.FOLLOW_UP: HandoffReason.FOLLOW_UP,
    }
)
# What only waits for a person's words: meanwhile the customer may go on ordering, and is answered.
_STILL_ANSWERED = frozenset({HandoffReason.QUESTION, HandoffReason.FOLLOW_UP})


def answers_by_itself(handoff: str, waits_for: str | None) -> bool:
    """Whether the system replies in a conversation; ``waits_for`` is why a person was asked for, where one is."""
    return handoff == Handoff.BOT or (handoff == Handoff.WAITING_HUMAN and waits_for in _STILL_ANSWERED)
