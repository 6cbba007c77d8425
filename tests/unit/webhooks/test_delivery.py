"""One attempt: what is sent, and how every answer is judged."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from channels.errors import (
    DeliveryFault,
    EgressBlocked,
    FaultClass,
    HeaderNotAllowed,
    InvalidInput,
    LookupsBusy,
)
from channels.exchanges import ExchangeTrace
from handlers.runtime import RetrySchedule
from handlers.webhooks.delivery import (
    MAX_EXCERPT_BYTES,
    MAX_RETRY_AFTER_UNAVAILABLE,
    AttemptResult,
    ClaimedDelivery,
    DeliveryStatus,
    DisableReason,
    Outcome,
    attempt,
    decide,
    excerpt_of,
    retry_after_seconds,
)
from handlers.webhooks.signing import EndpointSecret, new_secret, signing_key
from tests.factories import signing_keys
from tests.fakes import FakeClock

EVENT_ID = UUID("0198c0de-0000-7000-8000-000000000001")
OTHER = UUID(int=7)
SECRET, OLD_SECRET = (new_secret(random.Random(seed).randbytes) for seed in (1, 2))
BODY = '{"type": "order.created", "n": 1.50, "t": "ñ"}'.encode()
URL = "https://erp.example.test/hook?token=hush"


@dataclass
class Answer:
    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    truncated: bool = False
    trace: ExchangeTrace = field(default_factory=lambda: ExchangeTrace(address="203.0.113.9"))


class FakeEgress:
    """Keeps what is posted; answers, or raises, after ``seconds`` of the clock."""

    def __init__(self, outcome: Answer | Exception, clock: FakeClock, seconds: float = 0.25) -> None:
        self.outcome, self.clock, self.seconds = outcome, clock, seconds
        self.posts: list[tuple[str, dict[str, str], bytes]] = []

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        party: str,
        timeouts=None,
        certificate=None,
    ) -> Answer:
        self.posts.append((url, dict(headers), body))
        self.clock.advance(self.seconds)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def _delivery(**changes) -> ClaimedDelivery:
    delivery = ClaimedDelivery(
        distributor_id=OTHER,
        event_id=EVENT_ID,
        url=URL,
        body=BODY,
        keys=signing_keys(SECRET),
    )
    return replace(delivery, **changes)


async def _attempt(outcome: Answer | Exception, seconds: float = 0.25, **changes) -> AttemptResult:
    clock = FakeClock()
    return await attempt(FakeEgress(outcome, clock, seconds), _delivery(**changes), clock)


async def _posted(clock: FakeClock, **changes) -> dict[str, str]:
    egress = FakeEgress(Answer(), clock)
    await attempt(egress, _delivery(**changes), clock)
    assert [(url, body) for url, _, body in egress.posts] == [(URL, BODY)]
    return egress.posts[0][1]


async def test_what_is_sent_verifies_with_the_public_library():
    headers = await _posted(FakeClock(datetime.now(UTC)))

    Webhook(SECRET).verify(BODY, headers)
    assert headers["webhook-id"] == "evt_0198c0de000070008000000000000001"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("Waystation/")


async def test_a_retry_has_the_same_id_and_a_new_timestamp_and_signature():
    clock = FakeClock()
    first = await _posted(clock)
    clock.advance(30)
    second = await _posted(clock)

    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 30
    assert first["webhook-signature"] != second["webhook-signature"]


async def test_every_secret_in_force_signs_the_new_one_first():
    clock = FakeClock(datetime.now(UTC))
    ending = EndpointSecret(OLD_SECRET, clock() + timedelta(seconds=1))
    both = (*signing_keys(SECRET), signing_key(ending))

    during = await _posted(clock, keys=both)
    clock.advance(1)
    after = await _posted(clock, keys=both)

    Webhook(OLD_SECRET).verify(BODY, during)
    assert [len(headers["webhook-signature"].split()) for headers in (during, after)] == [2, 1]


async def test_custom_headers_go_along_and_override_nothing():
    custom = {"Authorization": "Bearer x", "Webhook-Id": "evil", "HOST": "evil", "content-Type": "text/evil"}

    headers = await _posted(FakeClock(), headers=custom)

    assert headers["Authorization"] == "Bearer x"
    assert "evil" not in " ".join(headers.values())
    assert len({name.lower() for name in headers}) == len(headers)


async def test_a_delivery_without_a_secret_in_force_is_never_sent():
    clock = FakeClock()
    egress = FakeEgress(Answer(), clock)

    with pytest.raises(InvalidInput):
        await attempt(egress, _delivery(keys=(signing_key(EndpointSecret(SECRET, clock())),)), clock)
    assert egress.posts == []


def test_a_delivery_prints_no_secret():
    printed = repr(_delivery(headers={"Authorization": "hush"}))

    assert "hush" not in printed
    assert "whsec_" not in printed


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_only_2xx_is_success(status):
    result = await _attempt(Answer(status))

    assert (Outcome.SUCCESS, status, None) == (result.outcome, result.status_code, result.error_class)
    assert result.duration_ms == 250


@pytest.mark.parametrize(
    "status", [101, 199, 300, 301, 302, 304, 307, 308, 400, 404, 410, 429, 500, 503, 600]
)
async def test_every_other_status_is_a_failure_of_class_status(status):
    result = await _attempt(Answer(status))

    assert (Outcome.FAILURE, status, FaultClass.STATUS) == (
        result.outcome,
        result.status_code,
        result.error_class,
    )


@pytest.mark.parametrize(
    ("raised", "error_class"),
    [
        (DeliveryFault(FaultClass.DNS), "dns"),
        (DeliveryFault(FaultClass.TIMEOUT), "timeout"),
        (EgressBlocked(), "egress_blocked"),
        (HeaderNotAllowed(), "configuration"),
        (LookupsBusy(), "deferred"),
    ],
)
async def test_what_goes_wrong_on_the_way_is_a_class_without_details(raised, error_class):
    result = await _attempt(raised)

    assert (Outcome.FAILURE, None, error_class, "") == (
        result.outcome,
        result.status_code,
        result.error_class,
        result.excerpt,
    )
    assert result.duration_ms == 250


async def test_a_defect_of_ours_is_no_result():
    with pytest.raises(ZeroDivisionError):
        await _attempt(ZeroDivisionError())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(410), DisableReason.GONE),
        (Answer(410, {"webhook-delivery": "disable"}), DisableReason.GONE),
        (Answer(500, {"Webhook-Delivery": " Disable "}), DisableReason.RECEIVER_ASKED),
        (Answer(204, {"webhook-delivery": "disable"}), DisableReason.RECEIVER_ASKED),
        (Answer(500, {"webhook-delivery": "enable"}), None),
        (Answer(404), None),
    ],
)
async def test_a_receiver_can_ask_for_no_more(answer, reason):
    assert (await _attempt(answer)).disable_reason is reason


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ("abort-message", DeliveryStatus.EXHAUSTED),
        (" Abort-Message ", DeliveryStatus.EXHAUSTED),
        ("abort", DeliveryStatus.RETRYING),
        ("", DeliveryStatus.RETRYING),
    ],
)
async def test_a_receiver_may_want_one_event_no_more_and_stays_enabled(wish, status):
    result = await _attempt(Answer(500, {"webhook-delivery": wish}))

    settlement = decide(result, RetrySchedule((0, 5, 30)), 0, result.ended_at, random.Random(1))

    assert (settlement.status, settlement.disable_reason) == (status, None)


async def test_an_attempt_keeps_its_evidence():
    result = await _attempt(Answer(500, {"X-Trace": "7"}, b"whsec" + b"x" * 5_000))

    assert result.evidence is not None
    assert result.evidence["address"] == "203.0.113.9"
    assert result.evidence["response_headers"] == {"x-trace": "7"}
    assert result.evidence["response_excerpt_truncated"] is True
    assert len(result.evidence["key_ids"]) == 1


async def test_a_clock_set_back_gives_no_negative_duration():
    assert (await _attempt(Answer(), seconds=-5)).duration_ms == 0


async def test_a_redirect_shows_nothing_of_its_body():
    assert (await _attempt(Answer(302, {}, b"instance metadata"))).excerpt == ""
    assert (await _attempt(Answer(500, {}, b"out of stock"))).excerpt == "out of stock"


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", ""),
        ("sí".encode(), "sí"),
        (b"a\0b", "a\ufffdb"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"\xc3", "\ufffd"),
    ],
)
def test_an_excerpt_is_storable_text(body, excerpt):
    assert excerpt_of(body) == excerpt


@given(st.binary(max_size=3 * MAX_EXCERPT_BYTES) | st.text().map(lambda text: text.encode("utf-8") * 300))
def test_an_excerpt_never_exceeds_its_cap(body):
    excerpt = excerpt_of(body)

    assert len(excerpt.encode()) <= MAX_EXCERPT_BYTES
    assert "\0" not in excerpt


NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0665", None),  # an Arabic digit, which int() would take
        ("0", 0.0),
        (" 120 ", 120.0),
        ("86401", MAX_RETRY_AFTER_UNAVAILABLE),
        ("9" * 5000, MAX_RETRY_AFTER_UNAVAILABLE),
        ("Sat, 01 Aug 2026 12:01:30 GMT", 90.0),
        ("Saturday, 01-Aug-26 12:01:30 GMT", 90.0),
        ("Sat Aug  1 12:01:30 2026", 90.0),
        ("Sat, 01 Aug 2026 11:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", MAX_RETRY_AFTER_UNAVAILABLE),
        ("Fri, 32 Jan 2100 00:00:00 GMT", None),
    ],
)
def test_retry_after_in_every_form_of_the_rfc(value, seconds):
    assert retry_after_seconds(value, NOW, MAX_RETRY_AFTER_UNAVAILABLE) == seconds


@given(
    st.text(alphabet=st.characters(max_codepoint=255))
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT")
)
def test_retry_after_is_never_an_error(value):
    seconds = retry_after_seconds(value, NOW, MAX_RETRY_AFTER_UNAVAILABLE)

    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_UNAVAILABLE


async def test_retry_after_counts_from_the_end_of_a_failed_attempt():
    when = "Mon, 06 Jul 2026 15:01:00 GMT"  # a minute after the fake clock's start

    failed = await _attempt(Answer(503, {"retry-after": when}), seconds=10)
    succeeded = await _attempt(Answer(200, {"retry-after": when}))

    assert (failed.retry_after, succeeded.retry_after) == (50.0, None)


@pytest.mark.parametrize(
    ("status", "asked", "granted"),
    [
        (429, "20", 20.0),
        (429, "86400", 3_600.0),
        (500, "7200", 3_600.0),
        (500, "Fri, 01 Jan 2100 00:00:00 GMT", 3_600.0),
        (503, "7200", 7_200.0),
        (503, "9999999999", 86_400.0),
    ],
)
async def test_an_event_waits_no_longer_than_its_endpoint_may_ask_for_silence(status, asked, granted):
    failed = await _attempt(Answer(status, {"retry-after": asked}))
    settled = decide(failed, RetrySchedule((0, 1)), 0, failed.ended_at, random.Random(1))

    assert failed.retry_after == granted
    assert settled.due_at == failed.ended_at + timedelta(seconds=granted)
