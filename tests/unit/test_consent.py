"""Words about consent, and the gate in front of every send."""

from datetime import timedelta

import pytest

from channels.base import Channel, ConsentChange
from channels.errors import OptedOut, WindowClosed
from handlers.consent import (
    check_may_send,
    consent_change,
    is_help_word,
    opts_in_while_out,
    provider_helps,
)
from tests.fakes import START

OUT, IN = ConsentChange.OUT, ConsentChange.IN


@pytest.mark.parametrize(
    ("channel", "text", "expected"),
    [
        (Channel.SMS, "STOP", OUT),
        (Channel.WHATSAPP, " stop. ", OUT),
        (Channel.WHATSAPP, "Baja", OUT),
        (Channel.WHATSAPP, "SAIR!", OUT),
        (Channel.SMS, "detener", OUT),
        (Channel.SMS, "Darse de baja", OUT),
        (Channel.EMAIL, "Pare", OUT),
        (Channel.SMS, "reanudar", IN),
        (Channel.WHATSAPP, "Retomar", IN),
        (Channel.SMS, "Unsubscribe", OUT),
        (Channel.SMS, "cancel", OUT),
        (Channel.SMS, "QUIT", OUT),
        (Channel.WHATSAPP, "cancel", None),
        (Channel.WHATSAPP, "start", IN),
        (Channel.SMS, "UNSTOP", IN),
        (Channel.SMS, "stop the coke, add 2 sprite", None),
        (Channel.WHATSAPP, "dame de baja el refresco", None),
        (Channel.WHATSAPP, "2 cajas de coca", None),
        (Channel.WHATSAPP, "", None),
    ],
)
def test_a_word_counts_when_it_stands_alone(channel: Channel, text: str, expected: ConsentChange | None):
    assert consent_change(channel, text) is expected


def test_the_providers_own_word_comes_first():
    assert consent_change(Channel.SMS, "2 boxes", OUT) is OUT


@pytest.mark.parametrize(
    ("channel", "text", "expected"),
    [
        (Channel.SMS, "YES", True),
        (Channel.SMS, " yes\n", True),
        (Channel.SMS, "yes please", False),
        (Channel.SMS, "si", False),
        (Channel.WHATSAPP, "YES", False),
    ],
)
def test_yes_alone_opts_in_over_sms_while_opted_out(channel: Channel, text: str, expected: bool):
    assert opts_in_while_out(channel, text) is expected
    assert consent_change(channel, text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HELP", True),
        (" info ", True),
        ("Ayuda!", True),
        ("¿ayuda?", True),
        ("AJUDA", True),
        ("help me with my order", False),
        ("necesito ayuda", False),
        ("", False),
    ],
)
def test_a_word_for_help_stands_alone(text: str, expected: bool):
    assert is_help_word(text) is expected


@pytest.mark.parametrize(
    ("provider", "channel", "text", "expected"),
    [
        ("twilio", Channel.SMS, "HELP", True),
        ("twilio", Channel.SMS, "info", True),
        ("twilio", Channel.SMS, "ayuda", False),
        ("twilio", Channel.WHATSAPP, "help", False),
        ("another", Channel.SMS, "help", False),
        ("ses", Channel.EMAIL, "help", False),
    ],
)
def test_twilio_answers_its_words_for_help_over_sms(
    provider: str, channel: Channel, text: str, expected: bool
):
    assert provider_helps(provider, channel, text) is expected


def test_who_opted_out_gets_nothing():
    with pytest.raises(OptedOut):
        check_may_send(Channel.SMS, opted_out_at=START, last_inbound_at=START, now=START)


@pytest.mark.parametrize(
    ("channel", "hours", "may"),
    [
        (Channel.WHATSAPP, 23.9, True),
        (Channel.WHATSAPP, 24, False),
        (Channel.WHATSAPP, None, False),
        (Channel.SMS, None, True),
        (Channel.SMS, 900, True),
    ],
)
def test_whatsapps_window(channel: Channel, hours: float | None, may: bool):
    last = None if hours is None else START - timedelta(hours=hours)
    if may:
        check_may_send(channel, opted_out_at=None, last_inbound_at=last, now=START)
    else:
        with pytest.raises(WindowClosed):
            check_may_send(channel, opted_out_at=None, last_inbound_at=last, now=START)
