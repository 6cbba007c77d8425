"""Runs the lanes: turns, sends, deliveries, files, posts to be asked for. Any number of workers on any number of
machines share the work.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

import structlog
from prometheus_client import Counter

from channels.base import ChannelAdapter
from channels.errors import GatewayError
from db import lanes
from db.delivery_lane import ClaimedDeliveryRow
from db.errors import DatabaseUnavailable
from db.lanes import ClaimedFile, ClaimedPost, ClaimedSend, ClaimedTurn, ClaimTerms, Shard
from db.wake import Notifier
from gateway.batching import Batcher
from gateway.delivery_claims import DeliveryClaims
from gateway.metrics import DELIVERY_ATTEMPTS, FIRST_BYTE_SECONDS, WORK, WORK_SECONDS
from handlers.deferred import AskResult, DeferredTools, ask_for_post
from handlers.deliveries import deliver, settle
from handlers.media import FETCH_LEASE, MediaTools, fetch_file
from handlers.outbound import SEND_LEASE, send_message
from handlers.outbound_outcome import SendResult
from handlers.runtime import Runtime
from handlers.send_rates import SEND_PACE
from handlers.turns import TurnTools, run_turn
from handlers.webhooks.delivery import FinishedDelivery, Outcome
from handlers.webhooks.delivery_tools import delivery_tools
from handlers.webhooks.egress import Egress
from handlers.webhooks.events import public_event_id

Claimed = TypeVar("Claimed")

EVERYTHING = Shard()
POLL_SECONDS = 0.25
DRAIN_SECONDS = 25.0
_AWAY_SECONDS = 1.0
_PATIENCE_SECONDS = 0.01  # for which a busy lane waits for more room before it claims for what it has
_ROOM_DIVISOR = 4
TURNS_AT_ONCE = 4
SENDS_AT_ONCE = 20
DELIVERIES_AT_ONCE = 200
FILES_AT_ONCE = 8  # each may be in memory whole, up to the largest that is taken
POSTS_AT_ONCE = 8
# Posts lie in a partition a day: looking for one takes milliseconds where the other lanes' claims take a fraction of one.
# A second's wait is little beside the provider's own, which has to be asked over the network.
POSTS_POLL = 1.0
# How much of a lane one tenant (or, of deliveries, one endpoint) may have under lease, on all workers together. Fairness is
# the claim's order: whoever has least under lease is next, so that a tenant who comes later waits for one slot, not for
# another's backlog. The share only bounds how many slots that one can be waiting for.
# Turns end by themselves and are slow for all tenants alike (the model), so one tenant may fill eight workers.
TURN_SHARE = 8 * TURNS_AT_ONCE
# Half a worker: a tenant's provider account takes fewer messages a second than that sends.
SEND_SHARE = SENDS_AT_ONCE // 2
# An endpoint that never answers holds its share until its time-out: a twentieth, which is also what a receiver gets at once.
DELIVERY_SHARE = DELIVERIES_AT_ONCE // 20
# Half a worker: a provider that hangs holds what it has for two minutes.
FETCH_SHARE = FILES_AT_ONCE // 2
# A lease must outlast the longest attempt: an engine's 20 s; a post's 25 s (channels.egress, with the name's lookup) after
# 9 s for a token (handlers.webhooks.oauth2); each with room for the database. A send's is renewed before its request
# leaves (handlers.outbound).
TURN_LEASE = timedelta(seconds=45)
DELIVERY_LEASE = timedelta(seconds=40)
_log = structlog.get_logger("waystation.worker")


@dataclass(frozen=True, slots=True)
class Lane(Generic[Claimed]):
    """One kind of work: how to claim up to so many pieces, how to do one, and how many at once.

    ``pause`` is how many seconds pass after a claim that found nothing; a lane that is not ``woken`` keeps to it,
    whatever happens.
    """

    name: str
    claim: Callable[[int], Awaitable[Sequence[Claimed]]]
    handle: Callable[[Claimed], Awaitable[str]]
    concurrency: int
    pause: Callable[[], float] = lambda: POLL_SECONDS
    woken: bool = True


class LaneRunner(Generic[Claimed]):
    """Claims as much as there is room for, and starts it; sleeps until woken or until the next poll."""

    def __init__(self, lane: Lane[Claimed]) -> None:
        self._lane = lane
        # Claims are worth their round trip in numbers: a busy lane waits until a quarter of it is free. In a small one
        # every slot counts, beside work that takes seconds.
        self._least_room = max(lane.concurrency // _ROOM_DIVISOR, 1)
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._seconds = WORK_SECONDS.labels(
            lane=lane.name
        )  # looked up once: it is told thousands of times a second
        self._counts: dict[str, Counter] = {}

    def wake(self) -> None:
        """There may be work."""
        if self._lane.woken:
            self._wake.set()

    async def run(self) -> None:
        """Works until ``stop``; what was started is finished by then, within the drain time."""
        stopped = asyncio.create_task(self._stop.wait(), name=f"{self._lane.name}-stop")
        while not self._stop.is_set():
            room = self._lane.concurrency - len(self._running)
            if room >= self._least_room:
                await self._claim_and_start(room)
            elif not await self._ends_one(stopped) and room:
                # What is under way hangs: the others must not wait for it.
                await self._claim_and_start(room)
        await self._drain()

    async def _ends_one(self, stopped: "asyncio.Task[Any]") -> bool:
        """Whether a piece of work ends soon, or the lane is to stop."""
        done, _ = await asyncio.wait(
            {*self._running, stopped}, timeout=_PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        return bool(done)

    def stop(self) -> None:
        """Claims nothing more."""
        self._stop.set()
        self._wake.set()

    async def _claim_and_start(self, room: int) -> None:
        """Starts what could be claimed; where that is nothing, waits for a wake-up or the next poll."""
        self._wake.clear()
        claimed = await self._claim(room)
        for item in claimed:
            self._start(item)
        if not claimed and not self._stop.is_set():
            with contextlib.suppress(TimeoutError):  # the pause is over
                await asyncio.wait_for(self._wake.wait(), self._lane.pause())

    async def _claim(self, room: int) -> Sequence[Claimed]:
        """What could be claimed. A fault, whatever it is, must not end the lane: it is told and waited for."""
        try:
            return await self._lane.claim(room)
        except DatabaseUnavailable:
            _log.warning("database away", lane=self._lane.name)
        except Exception as error:  # noqa: BLE001 - see above
            _log.error("claim failed", lane=self._lane.name, error=type(error).__name__, where=_where(error))
        await asyncio.sleep(_AWAY_SECONDS)
        return ()

    def _start(self, item: Claimed) -> None:
        task = asyncio.create_task(self._handle(item), name=f"{self._lane.name}-work")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _handle(self, item: Claimed) -> None:
        """Does one piece. Whatever goes wrong, its lease runs out and it is claimed again."""
        with self._seconds.time():
            try:
                result = await self._lane.handle(item)
            except DatabaseUnavailable:
                result = "database_away"
            except Exception as error:  # noqa: BLE001 - one bad row must not stop the lane
                _log.error(
                    "work failed", lane=self._lane.name, error=type(error).__name__, where=_where(error)
                )
                result = "error"
        self._count(result)

    def _count(self, result: str) -> None:
        if result not in self._counts:
            self._counts[result] = WORK.labels(lane=self._lane.name, result=result)
        self._counts[result].inc()

    async def _drain(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_SECONDS)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


def _where(error: BaseException) -> str:
    """File and line of an error, without its message: that could hold a customer's words."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else ""


@dataclass(frozen=True, slots=True)
class WorkerTools:
    """What the lanes need beside the runtime."""

    adapters: Mapping[str, ChannelAdapter]
    egress: Egress
    turns: TurnTools
    media: MediaTools
    deferred: DeferredTools
    notifier: Notifier
    shard: Shard = EVERYTHING


class Worker:
    """The lanes of one process."""

    def __init__(self, runtime: Runtime, tools: WorkerTools) -> None:
        self._runtime = runtime
        self._tools = tools
        self._delivery_tools = delivery_tools(runtime, tools.egress)
        self._settler: Batcher[FinishedDelivery, None] = Batcher(lambda items: settle(runtime, items))
        self._claims = DeliveryClaims(runtime, POLL_SECONDS)
        self._delivery_runner = LaneRunner(
            Lane(
                "delivery",
                self._claim_deliveries,
                self._deliver,
                DELIVERIES_AT_ONCE,
                lambda: min(self._claims.pause, POLL_SECONDS),
            )
        )
        self._runners: tuple[LaneRunner[Any], ...] = (
            LaneRunner(Lane("turn", self._claim_turns, self._turn, TURNS_AT_ONCE)),
            LaneRunner(Lane("send", self._claim_sends, self._send, SENDS_AT_ONCE)),
            self._delivery_runner,
            LaneRunner(Lane("media", self._claim_media, self._fetch_file, FILES_AT_ONCE)),
            LaneRunner(
                Lane(
                    "fetch",
                    self._claim_deferred,
                    self._ask_for_post,
                    POSTS_AT_ONCE,
                    lambda: POSTS_POLL,
                    woken=False,
                )
            ),
        )

    def wake(self) -> None:
        """There may be work in any lane."""
        for runner in self._runners:
            runner.wake()

    async def run(self) -> None:
        """Works until ``stop``, drains, and closes the engine."""
        await asyncio.gather(*(runner.run() for runner in self._runners))
        await self._settler.drain()
        await self._tools.turns.engine.aclose()

    def stop(self) -> None:
        """Claims nothing more; ``run`` returns when what was started is done."""
        for runner in self._runners:
            runner.stop()

    def _terms(self, batch: int, share: int, lease: timedelta) -> ClaimTerms:
        return ClaimTerms(batch=batch, share=share, lease=lease, shard=self._tools.shard)

    async def _claim_turns(self, room: int) -> Sequence[ClaimedTurn]:
        terms = self._terms(room, TURN_SHARE, TURN_LEASE)
        async with self._runtime.database.worker_statements() as connection:
            return await lanes.claim_turns(connection, terms, self._runtime.clock(), self._runtime.new_id())

    async def _claim_sends(self, room: int) -> Sequence[ClaimedSend]:
        terms = self._terms(room, SEND_SHARE, SEND_LEASE)
        async with self._runtime.database.worker_statements() as connection:
            now, token = self._runtime.clock(), self._runtime.new_id()
            return await lanes.claim_sends(connection, terms, now, token, SEND_PACE)

    async def _claim_deliveries(self, room: int) -> Sequence[ClaimedDeliveryRow]:
        return await self._claims.claim(self._terms(room, DELIVERY_SHARE, DELIVERY_LEASE))

    async def _claim_media(self, room: int) -> Sequence[ClaimedFile]:
        terms = self._terms(room, FETCH_SHARE, FETCH_LEASE)
        async with self._runtime.database.worker_statements() as connection:
            return await lanes.claim_media(connection, terms, self._runtime.clock(), self._runtime.new_id())

    async def _claim_deferred(self, room: int) -> Sequence[ClaimedPost]:
        terms = self._terms(room, FETCH_SHARE, FETCH_LEASE)
        async with self._runtime.database.worker_statements() as connection:
            return await lanes.claim_deferred(
                connection, terms, self._runtime.clock(), self._runtime.new_id()
            )

    async def _turn(self, claimed: ClaimedTurn) -> str:
        result = await run_turn(self._runtime, self._tools.turns, claimed)
        _log.info("turn", conversation=str(claimed.conversation_id), result=result)
        self._tools.notifier.poke()
        self.wake()
        return result

    async def _send(self, claimed: ClaimedSend) -> str:
        faults: list[GatewayError] = []
        downloads = self._tools.media.downloads
        result = await send_message(self._runtime, self._tools.adapters, claimed, downloads, faults.append)
        tell = _log.warning if result is SendResult.FAILED else _log.info
        tell("send", message=str(claimed.message_id), result=result, **_why(faults))
        self._tools.notifier.poke()
        self.wake()
        return result

    async def _deliver(self, row: ClaimedDeliveryRow) -> str:
        try:
            finished = await deliver(self._runtime, self._delivery_tools, row)
            _count(finished)
            _tell_failure(finished)
            await self._settler.submit(finished)
        finally:
            self._claims.finished(row)
        if self._claims.is_held_up:
            self._delivery_runner.wake()
        return finished.settlement.status

    async def _fetch_file(self, claimed: ClaimedFile) -> str:
        faults: list[GatewayError] = []
        result = await fetch_file(self._runtime, self._tools.media, claimed, faults.append)
        attachment = str(claimed.attachment_id)
        _log.info("file", attachment=attachment, attempt=claimed.attempts, result=result, **_why(faults))
        return result

    async def _ask_for_post(self, claimed: ClaimedPost) -> str:
        faults: list[GatewayError] = []
        result = await ask_for_post(self._runtime, self._tools.deferred, claimed, faults.append)
        tell = _log.error if result is AskResult.GIVEN_UP else _log.info
        tell("post", post=str(claimed.event_id), attempt=claimed.attempts, result=result, **_why(faults))
        self._tools.notifier.poke()
        self.wake()
        return result


def _count(finished: FinishedDelivery) -> None:
    row, result = finished.claimed, finished.result
    if row.number == 1 and row.trigger == "event":
        FIRST_BYTE_SECONDS.observe(max(0.0, (result.started_at - row.occurred_at).total_seconds()))
    status = result.status_code
    DELIVERY_ATTEMPTS.labels(result=f"{status // 100}xx" if status else result.error_class or "unknown").inc()


def _tell_failure(finished: FinishedDelivery) -> None:
    """A line for each attempt that failed; neither URLs nor bodies are in it."""
    row, result, settlement = finished.claimed, finished.result, finished.settlement
    if result.outcome is Outcome.SUCCESS:
        return
    tell = _log.warning if settlement.disable_reason else _log.info
    tell(
        "delivery",
        endpoint=str(row.endpoint_id),
        webhook_id=public_event_id(row.event_id),
        attempt=row.number,
        result=settlement.status,
        reason=settlement.disable_reason or result.error_class,
        status_code=result.status_code,
    )


def _why(faults: Sequence[GatewayError]) -> Mapping[str, str]:
    """What the log says of an attempt that failed: our words, and the provider's code where it gave one."""
    return {
        key: value
        for fault in faults
        for key, value in (("reason", str(fault)), ("provider_code", fault.provider_code))
        if value
    }
