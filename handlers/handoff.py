"""Who answers in a conversation, in the words of the database; the API says the same in lower case."""

from enum import StrEnum


class Handoff(StrEnum):
    """BOT: the system answers by itself. WAITING_HUMAN: a person was asked for. HUMAN: a person took over."""

    BOT = "BOT"
    WAITING_HUMAN = "WAITING_HUMAN"
    HUMAN = "HUMAN"
