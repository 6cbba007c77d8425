"""Words about consent, and the gate in front of every send."""

from datetime import timedelta

import pytest

from channels.base import Channel, ConsentChange
from channels.errors import OptedOut, WindowClosed
from handlers.consent import asks_provider_for_help, check_may_send, consent_change, opts_in_while_out
from tests.fakes import START

OUT, IN = ConsentChange.OUT, ConsentChange.IN


@pytest.mark.parametrize(
    ("channel", "text", "expected"),
    [
        (Channel.SMS, "STOP", OUT),
        (Channel.WHATSAPP, " stop. ", OUT),
        (Channel.WHATSAPP, "Baja", OUT),
        (Channel.WHATSAPP, "SAIR!", OUT),
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
    ("channel", "text", "expected"),
    [
        (Channel.SMS, "HELP", True),
        (Channel.SMS, " info ", True),
        (Channel.SMS, "help me with my order", False),
        (Channel.SMS, "ayuda", False),
        (Channel.WHATSAPP, "help", False),
    ],
)
def test_twilio_answers_a_word_for_help_over_sms(channel: Channel, text: str, expected: bool):
    assert asks_provider_for_help(channel, text) is expected


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
