"""One attempt to deliver an event, and what follows from it.

Rules: Standard Webhooks spec 1.0.0, "Webhook sending": only 2xx is success, no redirect is followed, 410
means that the receiver is gone for good, ``Retry-After`` is honoured; retry schedule of contract §2.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from uuid import UUID

from channels.errors import DeliveryFault, EgressBlocked, FaultClass, InvalidInput, LookupsBusy
from db.delivery_lane import ClaimedDeliveryRow
from handlers.runtime import Clock, RetrySchedule
from handlers.webhooks.egress import Egress, EgressAnswer
from handlers.webhooks.endpoint_auth import NOTHING, Authorisation
from handlers.webhooks.events import public_event_id
from handlers.webhooks.headers import request_headers
from handlers.webhooks.signing import SigningKey, active_keys

MAX_EXCERPT_BYTES = 4_096
MAX_RETRY_AFTER = 86_400.0  # seconds
JITTER = 0.2  # of every wait but 0, to either side
DEFERRAL = 10.0  # seconds, after which an attempt is made anew that could not be made for a reason of our own
DELIVERY_HEADER = "webhook-delivery"  # of a response; ``disable`` asks for no more deliveries
_DELAY_SECONDS = re.compile(r"[0-9]+")
_ALWAYS_CAPPED_DIGITS = 9


class Outcome(StrEnum):
    """What an attempt's row says once it is finished; until then the row says ``unknown``."""

    SUCCESS = "success"
    FAILURE = "failure"


class DeliveryStatus(StrEnum):
    """A delivery's life (contract §4)."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    RETRYING = "RETRYING"
    EXHAUSTED = "EXHAUSTED"
    CANCELLED = "CANCELLED"


class DisableReason(StrEnum):
    """Why an endpoint is disabled, beside its tenant's own wish."""

    GONE = "gone"  # 410
    RECEIVER_ASKED = "receiver_asked"  # ``webhook-delivery: disable``
    FAILING = "failing"  # for days


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """What an attempt needs. ``body`` is posted byte for byte; what may hold a secret does not print."""

    distributor_id: UUID
    event_id: UUID
    url: str = field(repr=False)
    body: bytes = field(repr=False)
    keys: tuple[SigningKey, ...] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorisation: Authorisation = NOTHING


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What an attempt came to. ``retry_after`` is in seconds from ``ended_at``, at most 24 h."""

    outcome: Outcome
    started_at: datetime
    ended_at: datetime
    status_code: int | None = None
    error_class: FaultClass | None = None
    excerpt: str = field(default="", repr=False)
    retry_after: float | None = None
    disable_reason: DisableReason | None = None

    @property
    def duration_ms(self) -> int:
        # A wall clock may be set back while a request runs.
        return max(0, round((self.ended_at - self.started_at).total_seconds() * 1000))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of the delivery; ``due_at`` only while RETRYING. With ``disable_reason`` the endpoint is
    disabled and its waiting deliveries are cancelled.
    """

    status: DeliveryStatus
    due_at: datetime | None
    schedule_position: int
    disable_reason: DisableReason | None = None


@dataclass(frozen=True, slots=True)
class FinishedDelivery:
    """An attempt that was made, and what follows from it."""

    claimed: ClaimedDeliveryRow
    result: AttemptResult
    settlement: Settlement


async def attempt(egress: Egress, delivery: ClaimedDelivery, clock: Clock) -> AttemptResult:
    """Signs and posts a delivery once. A failure on the way or at the receiver is a result, not an error.

    Raises InvalidInput if no secret of the endpoint is in force: a delivery is never sent unsigned.
    """
    started_at = clock()
    headers = _headers(delivery, started_at)
    try:
        answer = await egress.post(delivery.url, headers, delivery.body, party=str(delivery.distributor_id))
    except InvalidInput:  # a rule on headers that got stricter since they were stored
        return AttemptResult(Outcome.FAILURE, started_at, clock(), error_class=FaultClass.CONFIGURATION)
    except (DeliveryFault, EgressBlocked, LookupsBusy) as fault:
        return AttemptResult(Outcome.FAILURE, started_at, clock(), error_class=fault.error_class)
    return _judge(answer, started_at, clock())


def _headers(delivery: ClaimedDelivery, now: datetime) -> dict[str, str]:
    return request_headers(
        public_event_id(delivery.event_id),
        delivery.body,
        now,
        keys=active_keys(delivery.keys, now),
        custom=delivery.headers,
        authorisation=delivery.authorisation,
    )


def _judge(answer: EgressAnswer, started_at: datetime, ended_at: datetime) -> AttemptResult:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    succeeded = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    redirected = HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST
    return AttemptResult(
        outcome=Outcome.SUCCESS if succeeded else Outcome.FAILURE,
        started_at=started_at,
        ended_at=ended_at,
        status_code=answer.status,
        error_class=None if succeeded else FaultClass.STATUS,
        # What a redirecting server says is not the receiver's; showing it would help to probe networks.
        excerpt="" if redirected else excerpt_of(answer.body),
        retry_after=None if succeeded else retry_after_seconds(headers.get("retry-after"), ended_at),
        disable_reason=_disable_reason(answer.status, headers),
    )


def _disable_reason(status: int, headers: Mapping[str, str]) -> DisableReason | None:
    if status == HTTPStatus.GONE:
        return DisableReason.GONE
    if headers.get(DELIVERY_HEADER, "").strip().lower() == "disable":
        return DisableReason.RECEIVER_ASKED
    return None


def excerpt_of(body: bytes) -> str:
    """The start of a response as storable text of at most 4 KiB in UTF-8; what is not text becomes U+FFFD."""
    text = body[:MAX_EXCERPT_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")
    return text.encode()[:MAX_EXCERPT_BYTES].decode("utf-8", "ignore")


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """``Retry-After`` (RFC 9110 §10.2.3: seconds or an HTTP date) as seconds from ``now``, 0 to 24 h; None if
    there is none or it is malformed.
    """
    text = (value or "").strip()
    if _DELAY_SECONDS.fullmatch(text):
        return MAX_RETRY_AFTER if len(text) > _ALWAYS_CAPPED_DIGITS else min(float(text), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # not a date: as if the header were absent
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # asctime's form has no zone; HTTP is GMT
    return min(max((aware - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def decide(
    result: AttemptResult, schedule: RetrySchedule, position: int, now: datetime, rng: random.Random
) -> Settlement:
    """What becomes of a delivery after an attempt at ``position`` (0 for the first) that ended at ``now``.

    n waits mean n attempts: after the n-th failed one the delivery is EXHAUSTED, and at once if the receiver
    wants no more. Else it is due after the next wait, with jitter, and not before ``Retry-After`` is over. One
    that was only deferred is tried again soon, from the same position.
    """
    following = position + 1
    if result.error_class is FaultClass.DEFERRED:
        return Settlement(DeliveryStatus.RETRYING, now + timedelta(seconds=DEFERRAL), position)
    if result.outcome is Outcome.SUCCESS:
        return Settlement(DeliveryStatus.SUCCESS, None, position, result.disable_reason)
    if result.disable_reason is not None or following >= len(schedule.waits):
        return Settlement(DeliveryStatus.EXHAUSTED, None, following, result.disable_reason)
    wait = max(jittered_wait(schedule, following, rng), result.retry_after or 0.0)
    return Settlement(DeliveryStatus.RETRYING, now + timedelta(seconds=wait), following)


def decide_probe(result: AttemptResult, position: int, pause: float) -> Settlement:
    """What becomes of a delivery whose attempt tried an endpoint that had been failing, and failed: the attempt has cost
    it nothing, and it is due when the next probe is (``pause`` seconds), behind all that was due before.
    """
    wait = max(pause, result.retry_after or 0.0)
    return Settlement(DeliveryStatus.RETRYING, result.ended_at + timedelta(seconds=wait), position)


def jittered_wait(schedule: RetrySchedule, position: int, rng: random.Random) -> float:
    """The seconds to wait before the attempt at ``position``: the schedule's ±20 %, exactly 0 for 0."""
    return schedule.waits[position] * rng.uniform(1 - JITTER, 1 + JITTER)
