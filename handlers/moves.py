"""People whose number or id at the provider changes: WhatsApp says so in a message that nobody wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from channels.addresses import E164, USER_ID
from channels.base import Channel, InboundMessage

# By Meta's page on system messages; `customer_…` in older versions of the API. Of other kinds nobody moves.
_KINDS = frozenset({"user_changed_number", "customer_changed_number", "user_changed_user_id"})


@dataclass(frozen=True, slots=True)
class Move:
    """What one person had before and has now; None: it is not said."""

    old_address: str | None
    old_user_id: str | None
    new_address: str | None
    new_user_id: str | None


def is_notice(message: InboundMessage) -> bool:
    """Whether the provider tells something in a customer's conversation that the customer did not write. Such a message
    is stored and told; it is nothing to be read, and no word of the customer's that would let us write freely.
    """
    return message.channel is Channel.WHATSAPP and message.metadata.get("provider_kind") == "system"


def move_of(message: InboundMessage) -> Move | None:
    """The move that a message tells of; None where it tells of none."""
    told = message.metadata.get("system")
    if not is_notice(message) or not isinstance(told, Mapping) or told.get("type") not in _KINDS:
        return None
    old, new = _number(told.get("old_number")), _number(told.get("new_number"))
    move = Move(old, _user_id(told.get("old_user_id")), new, _user_id(told.get("new_user_id")))
    return move if (old or move.old_user_id) and (new or move.new_user_id) else None


def from_new_place(message: InboundMessage, move: Move) -> InboundMessage:
    """The message as from where its sender is now: there its contact is found once it has moved."""
    user_id = move.new_user_id or message.sender_user_id
    sender = move.new_address or move.old_address or move.new_user_id or message.sender
    return replace(message, sender=sender, sender_user_id=None if user_id == sender else user_id)


def _number(text: Any) -> str | None:
    """E.164 of the digits that Meta writes."""
    number = f"+{str(text or '').removeprefix('+')}"
    return number if E164.fullmatch(number) else None


def _user_id(text: Any) -> str | None:
    return text if isinstance(text, str) and USER_ID.fullmatch(text) else None
