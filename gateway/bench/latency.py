"""`waystation bench latency`: from the commit of a customer's message to the first byte at the integrator's receiver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from time import time
from types import MappingProxyType
from typing import Any

from channels.signatures import TWILIO_SIGNATURE, twilio_signature
from gateway.bench.conditions import read_conditions
from gateway.bench.figures import Goal, spread
from gateway.bench.open_loop import Load, keep_up
from gateway.bench.show import Report, StepFailed, Steps
from gateway.bench.sinks import SinkReport
from gateway.bench.stage import Stage
from gateway.bench.statements import STATEMENTS
from gateway.bench.tenants import BenchNumber, EndpointPlan, make_number, make_tenants, paths_of
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import public_event_id

_WARM_UP_MESSAGES = 40
_ARRIVES_WITHIN = 30.0
_SENDERS = 50  # customers of each tenant
TELLS_COMMITS: Mapping[str, str] = MappingProxyType({"track_commit_timestamp": "on"})


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """The load, over how many tenants, how often."""

    load: Load
    rounds: int = 3
    tenants: int = 20


class _Twilio:
    """Posts customers' messages as Twilio does."""

    def __init__(self, stage: Stage, numbers: Sequence[BenchNumber]) -> None:
        self._stage = stage
        self._numbers = numbers
        self._posted = 0
        self.answered: list[float] = []

    async def post(self, _number: int) -> None:
        """One message of the next tenant's next customer; raises StepFailed unless it is accepted."""
        self._posted += 1
        number = self._numbers[self._posted % len(self._numbers)]
        sender = f"+1303555{self._posted // len(self._numbers) % _SENDERS:04}"
        fields = _form(number, sender, f"SM{self._posted:032x}")
        signature = twilio_signature(number.login.auth_token, number.inbound_url, fields.items())
        began = time()
        async with self._stage.session.post(
            number.inbound_url, data=fields, headers={TWILIO_SIGNATURE: signature}
        ) as response:
            await response.read()
        self.answered.append((time() - began) * 1000)
        if response.status != HTTPStatus.OK:
            raise StepFailed(f"a message was answered with {response.status}")


def _form(number: BenchNumber, sender: str, sid: str) -> dict[str, str]:
    return {
        "ToCountry": "US", "ToState": "", "SmsMessageSid": sid, "NumMedia": "0", "ToCity": "", "FromZip": "",
        "SmsSid": sid, "FromState": "CA", "SmsStatus": "received", "FromCity": "", "Body": "Is the flour in stock?",
        "FromCountry": "US", "To": number.number, "ToZip": "", "NumSegments": "1", "MessageSid": sid,
        "AccountSid": number.login.account_sid, "From": sender, "ApiVersion": "2010-04-01",
    }  # fmt: skip


async def measure_latency(stage: Stage, steps: Steps, plan: LatencyPlan) -> Report:
    """Posts, waits until all has arrived, and compares both ends, which share a clock. Raises StepFailed."""
    with steps.step("making tenants, endpoints and numbers"):
        twilio, secrets = await _prepare(stage, plan)
    rounds = [await _round(stage, twilio, secrets, plan, steps) for _ in range(plan.rounds)]
    conditions = await read_conditions(
        stage.admin,
        stage.cores.told,
        tenants=plan.tenants,
        messages_per_second=plan.load.per_second,
        seconds=plan.load.seconds,
        rounds=plan.rounds,
        measured_from="the commit record, written before it is flushed",
    )
    return _report(conditions, rounds)


async def _prepare(stage: Stage, plan: LatencyPlan) -> tuple[_Twilio, dict[str, str]]:
    await stage.start_gateway()
    services = await stage.open_services()
    plans = [[EndpointPlan(f"/ok/{tenant}", (EventType.MESSAGE_RECEIVED,))] for tenant in range(plan.tenants)]
    tenants = await make_tenants(stage, services.runtime, plans)
    numbers = [await make_number(tenant, index) for index, tenant in enumerate(tenants)]
    await stage.start("work", "work")
    return _Twilio(stage, numbers), paths_of(tenants)


async def _round(
    stage: Stage, twilio: _Twilio, secrets: Mapping[str, str], plan: LatencyPlan, steps: Steps
) -> dict[str, Any]:
    await stage.sink.reset()
    with steps.step("warming up"):
        for number in range(_WARM_UP_MESSAGES):
            await twilio.post(number)
        await stage.sink.until(_WARM_UP_MESSAGES, _ARRIVES_WITHIN)
    await stage.sink.reset()
    twilio.answered.clear()
    with steps.step("customers write", plan.load.number) as advance:
        late = await keep_up(plan.load, twilio.post, advance)
    with steps.step("waiting for the rest"):
        await stage.sink.until(plan.load.number, _ARRIVES_WITHIN)
    report = await stage.sink.report()
    if report.duplicates:
        raise StepFailed(f"{report.duplicates} posts came twice")
    return {
        "commit_to_first_byte_ms": spread(await _latencies(stage, report)),
        "answer_ms": spread(twilio.answered),
        "load_late_ms": spread(late),
        "verified": report.verify(secrets),
    }


async def _latencies(stage: Stage, report: SinkReport) -> list[float]:
    rows = await stage.admin.fetch(STATEMENTS["commit_times"])
    committed = {public_event_id(row["id"]): row["committed_at"] for row in rows}
    return [(arrival.at - committed[arrival.event_id]) * 1000 for arrival in report.arrivals]


def _report(conditions: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> Report:
    middle = sorted(rounds, key=lambda each: each["commit_to_first_byte_ms"]["p95"])[len(rounds) // 2]
    figures = {name: middle[name] for name in ("commit_to_first_byte_ms", "answer_ms", "load_late_ms")}
    latency = figures["commit_to_first_byte_ms"]
    goals = [
        Goal("p50, ms", latency["p50"], 10, at_least=False),
        Goal("p95, ms", latency["p95"], 40, at_least=False),
    ]
    return Report("latency", conditions, figures, goals, rounds)
