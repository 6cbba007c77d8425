"""One attempt to deliver an event, and what follows from it.

Rules: Standard Webhooks spec 1.0.0, "Webhook sending": only 2xx is success, no redirect is followed, 410
means that the receiver is gone for good, ``Retry-After`` is honoured; retry schedule of contract §2.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any
from uuid import UUID

from channels.errors import DeliveryFault, EgressBlocked, FaultClass, InvalidInput, LookupsBusy
from db.delivery_lane import ClaimedDeliveryRow
from handlers.runtime import Clock, RetrySchedule
from handlers.webhooks.egress import Egress, EgressAnswer
from handlers.webhooks.endpoint_auth import NOTHING, Authorisation
from handlers.webhooks.events import public_event_id
from handlers.webhooks.evidence import build_evidence, is_redirect, without_echoes
from handlers.webhooks.headers import request_headers
from handlers.webhooks.signing import SigningKey, active_keys

MAX_EXCERPT_BYTES = 4_096
MAX_RETRY_AFTER = 3_600.0  # seconds for which a receiver may ask us to send it nothing at all
MAX_RETRY_AFTER_UNAVAILABLE = 86_400.0  # the same with a 503, which says that it is down
JITTER = 0.2  # of every wait but 0, to either side
DEFERRAL = 10.0  # seconds, after which an attempt is made anew that could not be made for a reason of our own
DELIVERY_HEADER = "webhook-delivery"  # of a response: what the receiver wishes
DISABLE = "disable"  # no more deliveries
ABORT = "abort-message"  # not this one again
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
    """What an attempt came to. ``retry_after`` is in seconds from ``ended_at``, at most what the status
    allows. ``is_aborted``: the receiver wants this event no more. ``evidence`` is None where nothing was posted.
    """

    outcome: Outcome
    started_at: datetime
    ended_at: datetime
    status_code: int | None = None
    error_class: FaultClass | None = None
    excerpt: str = field(default="", repr=False)
    retry_after: float | None = None
    disable_reason: DisableReason | None = None
    is_aborted: bool = False
    evidence: Mapping[str, Any] | None = field(default=None, repr=False)

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
    sent = _sent(delivery, started_at)
    try:
        answer = await egress.post(
            delivery.url,
            sent.headers,
            delivery.body,
            party=str(delivery.distributor_id),
            certificate=delivery.authorisation.certificate,
        )
    except InvalidInput:  # a rule on headers that got stricter since they were stored
        return AttemptResult(Outcome.FAILURE, started_at, clock(), error_class=FaultClass.CONFIGURATION)
    except (DeliveryFault, EgressBlocked, LookupsBusy) as fault:
        return _unanswered(sent, fault, started_at, clock())
    return _judge(sent, answer, started_at, clock())


@dataclass(frozen=True, slots=True)
class _Sent:
    """A post as it left."""

    url: str
    headers: Mapping[str, str]
    key_ids: Sequence[str]


def _sent(delivery: ClaimedDelivery, now: datetime) -> _Sent:
    keys = active_keys(delivery.keys, now)
    headers = request_headers(
        public_event_id(delivery.event_id),
        delivery.body,
        now,
        keys=keys,
        custom=delivery.headers,
        authorisation=delivery.authorisation,
    )
    return _Sent(delivery.url, headers, [key.id for key in keys])


def _unanswered(
    sent: _Sent, fault: DeliveryFault | EgressBlocked | LookupsBusy, started_at: datetime, ended_at: datetime
) -> AttemptResult:
    evidence = build_evidence(
        url=sent.url,
        request_headers=sent.headers,
        key_ids=sent.key_ids,
        trace=fault.trace,
        error_class=fault.error_class,
    )
    return AttemptResult(
        Outcome.FAILURE, started_at, ended_at, error_class=fault.error_class, evidence=evidence
    )


def _judge(sent: _Sent, answer: EgressAnswer, started_at: datetime, ended_at: datetime) -> AttemptResult:
    succeeded = HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES
    wish = _header(answer.headers, DELIVERY_HEADER).strip().lower()
    excerpt, excerpt_truncated = _excerpt(sent, answer)
    evidence = build_evidence(
        url=sent.url,
        request_headers=sent.headers,
        key_ids=sent.key_ids,
        trace=answer.trace,
        status=answer.status,
        response_headers=answer.headers,
        excerpt_truncated=excerpt_truncated,
    )
    return AttemptResult(
        outcome=Outcome.SUCCESS if succeeded else Outcome.FAILURE,
        started_at=started_at,
        ended_at=ended_at,
        status_code=answer.status,
        error_class=None if succeeded else FaultClass.STATUS,
        excerpt=excerpt,
        retry_after=None
        if succeeded
        else retry_after_seconds(
            _header(answer.headers, "retry-after"), ended_at, longest_silence(answer.status)
        ),
        disable_reason=_disable_reason(answer.status, wish),
        is_aborted=wish == ABORT,
        evidence=evidence,
    )


def _header(headers: Mapping[str, str], name: str) -> str:
    """A header's value whatever its case; most answers have none of those that we ask for."""
    return next((value for key, value in headers.items() if key.lower() == name), "")


def _excerpt(sent: _Sent, answer: EgressAnswer) -> tuple[str, bool]:
    """What is kept of an answer, and whether there was more. What a redirecting server says is not the receiver's;
    showing it would help to probe networks.
    """
    if not answer.body or is_redirect(answer.status):
        return "", False
    text = without_echoes(answer.body.decode("utf-8", "replace"), sent.headers)
    kept = excerpt_of(text.encode())
    return kept, answer.truncated or len(answer.body) > MAX_EXCERPT_BYTES


def _disable_reason(status: int, wish: str) -> DisableReason | None:
    if status == HTTPStatus.GONE:
        return DisableReason.GONE
    return DisableReason.RECEIVER_ASKED if wish == DISABLE else None


def excerpt_of(body: bytes) -> str:
    """The start of a response as storable text of at most 4 KiB in UTF-8; what is not text becomes U+FFFD."""
    text = body[:MAX_EXCERPT_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")
    return text.encode()[:MAX_EXCERPT_BYTES].decode("utf-8", "ignore")


def longest_silence(status: int) -> float:
    """The seconds that a receiver may ask for with this status, for an event as for the whole endpoint."""
    return MAX_RETRY_AFTER_UNAVAILABLE if status == HTTPStatus.SERVICE_UNAVAILABLE else MAX_RETRY_AFTER


def retry_after_seconds(value: str | None, now: datetime, longest: float) -> float | None:
    """``Retry-After`` (RFC 9110 §10.2.3: seconds or an HTTP date) as seconds from ``now``, 0 to ``longest``; None if
    there is none or it is malformed.
    """
    text = (value or "").strip()
    if _DELAY_SECONDS.fullmatch(text):
        return longest if len(text) > _ALWAYS_CAPPED_DIGITS else min(float(text), longest)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # not a date: as if the header were absent
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # asctime's form has no zone; HTTP is GMT
    return min(max((aware - now).total_seconds(), 0.0), longest)


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
    if result.disable_reason is not None or result.is_aborted or following >= len(schedule.waits):
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
