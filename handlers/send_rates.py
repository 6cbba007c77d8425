"""How many messages a second an account may send: its provider's usual rate as data, the account's own setting before it,
and what was learnt from the provider's requests to slow down.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from db.lanes import SendPace

# Messages a second by provider and channel. Sources: Twilio, "Understanding Twilio rate limits and message queues" (it takes
# more than a long code's one a second, and queues the rest for four hours; who would rather wait here sets
# settings.rate_per_second) and "WhatsApp: message rate limits"; Meta, "Throughput"; Amazon SES, "Service quotas" (the rate
# after the sandbox); Resend, "Usage limits" (the lowest that it gave its teams). The others name no rate and answer 429,
# which is learnt from; a tenant's own server (mime) has a modest one.
USUAL_RATES: Mapping[str, float] = MappingProxyType(
    {
        "twilio SMS": 80.0,
        "twilio WHATSAPP": 80.0,
        "whatsapp_cloud WHATSAPP": 80.0,
        "ses EMAIL": 14.0,
        "resend EMAIL": 2.0,
        "sendgrid EMAIL": 100.0,
        "mailgun EMAIL": 100.0,
        "postmark EMAIL": 100.0,
        "mime EMAIL": 5.0,
    }
)
_UNNAMED = 10.0  # of a channel that the table does not have yet
# A place may be taken so much ahead of its time: a little more than workers wait between two looks, so that the rate is
# reached whatever the moment of the look.
AHEAD = timedelta(seconds=0.3)
SEND_PACE = SendPace(AHEAD, USUAL_RATES)
# A request to slow down halves the rate, down to a part of the usual one; each minute after it gives a step back.
_LOWEST_PART = 64
_STEPS = 8
_STEP_SECONDS = 60.0
_FIRST_WAIT = 1.0  # seconds, times how much slower than usual the account now is: 2, 4, … 64


def usual_rate(provider: str, channel: str, settings: Mapping[str, Any]) -> float:
    """Messages a second of an account that was never asked to slow down."""
    return float(settings.get("rate_per_second") or USUAL_RATES.get(f"{provider} {channel}", _UNNAMED))


def current_rate(
    usual: float, learnt: float | None, throttled_until: datetime | None, now: datetime
) -> float:
    """Messages a second now: what was learnt when the account was last throttled, and a step for each minute since."""
    if learnt is None or throttled_until is None:
        return usual
    minutes = max((now - throttled_until).total_seconds(), 0.0) // _STEP_SECONDS
    return min(usual, learnt + minutes * usual / _STEPS)


def slower(usual: float, current: float) -> tuple[float, float]:
    """The rate after a request to slow down, and how many seconds to wait where the provider names none."""
    rate = max(current / 2, usual / _LOWEST_PART)
    return rate, _FIRST_WAIT * usual / rate
