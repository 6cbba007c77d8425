"""Who may be written to: opt-out words, and the gate in front of every send."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from channels.base import Channel, ConsentChange
from channels.errors import OptedOut, WindowClosed

# Carriers' words for SMS (CTIA; Twilio's "Default opt-out keywords") and what es and pt speakers send. A message must be the
# word alone: "cancel 2 boxes" is an order's change.
_OUT_EVERYWHERE = frozenset(
    {
        *("stop", "stopall", "unsubscribe", "optout", "revoke"),
        *("baja", "dar de baja", "darme de baja", "darse de baja", "detener", "no molestar"),
        *("parar", "pare", "sair", "descadastrar", "cancelar inscrição"),
    }
)
_OUT_WORDS: Mapping[Channel, frozenset[str]] = MappingProxyType(
    {
        # Twilio itself blocks the number on these when they come as SMS, so they mean the same to us. Over WhatsApp
        # "cancel" is about an order.
        Channel.SMS: _OUT_EVERYWHERE | {"cancel", "end", "quit"},
        Channel.WHATSAPP: _OUT_EVERYWHERE,
        Channel.EMAIL: _OUT_EVERYWHERE,
    }
)
_IN_WORDS = frozenset({"start", "unstop", "alta", "reanudar", "voltar", "retomar"})
# Of Twilio's three words that open a number again (START, YES, UNSTOP) the one that people also say to an order.
_IN_WORDS_WHILE_OUT = frozenset({"yes"})
_HELP_WORDS = frozenset({"help", "info", "ayuda", "ajuda"})
# Of these the ones that Twilio answers by itself when they come as SMS.
_ANSWERED_BY_TWILIO = frozenset({"help", "info"})
WHATSAPP_WINDOW = timedelta(hours=24)


def consent_change(channel: Channel, text: str, told: ConsentChange | None = None) -> ConsentChange | None:
    """What a message says about consent: the provider's own word first, else a keyword that stands alone."""
    if told is not None:
        return told
    word = _bare(text)
    if word in _OUT_WORDS[channel]:
        return ConsentChange.OUT
    return ConsentChange.IN if word in _IN_WORDS else None


def opts_in_while_out(channel: Channel, text: str) -> bool:
    """Whether a message opts in who is opted out, and is an ordinary word from everybody else.

    Source: Twilio, "Default opt-out keywords": YES, alone, takes the block of a number off.
    """
    return channel is Channel.SMS and text.strip().casefold() in _IN_WORDS_WHILE_OUT


def _bare(text: str) -> str:
    return text.strip().strip(".!¡?¿").strip().casefold()


def is_help_word(text: str) -> bool:
    """Whether a message asks what this is and how to end it: HELP, INFO, AYUDA or AJUDA, alone."""
    return _bare(text) in _HELP_WORDS


def provider_helps(provider: str, channel: Channel, text: str) -> bool:
    """Whether the provider answers a word for help by itself, so that nobody else may: Twilio over SMS.

    Source: Twilio, "Default opt-out keywords". STOP and START are confirmed by it in the same way, and by us on no
    channel: whoever wants silence gets it.
    """
    return provider == "twilio" and channel is Channel.SMS and _bare(text) in _ANSWERED_BY_TWILIO


def check_may_send(
    channel: Channel,
    *,
    opted_out_at: datetime | None,
    last_inbound_at: datetime | None,
    now: datetime,
    approved: bool = False,
) -> None:
    """Raises OptedOut, or WindowClosed where WhatsApp's 24 hours since the customer's last message are over, unless it
    is a template, which was ``approved``.

    Source: WhatsApp Business Messaging Policy; Twilio error 63016.
    """
    if opted_out_at is not None:
        raise OptedOut
    if approved:
        return
    if channel is Channel.WHATSAPP and (last_inbound_at is None or now - last_inbound_at >= WHATSAPP_WINDOW):
        raise WindowClosed
