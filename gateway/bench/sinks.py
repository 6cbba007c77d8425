"""The benchmark's side of its receiver: start it, ask it what came, verify what it kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.bench.show import StepFailed
from gateway.bench.sink import CONTROL
from gateway.dev.observing import observe


@dataclass(frozen=True, slots=True)
class Arrival:
    """A post: when its first byte came (Unix seconds), at which path, and the event's public id."""

    at: float
    path: str
    event_id: str


@dataclass(frozen=True, slots=True)
class SinkReport:
    """What came at paths that answer, in the order in which it was answered, and how many posts hang."""

    arrivals: Sequence[Arrival]
    samples: Sequence[Mapping[str, str]]
    held: int

    @property
    def duplicates(self) -> int:
        """How often an event came to a path once more."""
        return len(self.arrivals) - len({(arrival.path, arrival.event_id) for arrival in self.arrivals})

    def verify(self, secrets: Mapping[str, str]) -> int:
        """How many of the samples were signed with their path's secret, as the reference library judges; raises
        StepFailed for one that was not.
        """
        for sample in self.samples:
            headers = dict(line.split(": ", 1) for line in sample["head"].split("\r\n")[1:])
            try:
                Webhook(secrets[sample["path"]]).verify(
                    sample["body"].encode("latin-1"), {name.lower(): value for name, value in headers.items()}
                )
            except (WebhookVerificationError, ValueError) as error:
                raise StepFailed(f"a post to {sample['path']} has no genuine signature: {error}") from None
        return len(self.samples)


class Sink:
    """A receiver that runs."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def is_up(self) -> bool:
        """Whether it answers."""
        try:
            await self.count()
        except aiohttp.ClientError:
            return False
        return True

    async def count(self) -> int:
        """How many posts were answered."""
        return int((await self._ask("count"))["count"])

    async def held(self) -> int:
        """How many posts hang, or hung."""
        return int((await self._ask("count"))["held"])

    async def reset(self) -> None:
        """Forgets what came."""
        await self._ask("reset")

    async def report(self) -> SinkReport:
        """All that came since the last reset."""
        told = await self._ask("report")
        return SinkReport([Arrival(*each) for each in told["arrivals"]], told["samples"], told["held"])

    async def until(self, wanted: int, within: float) -> None:
        """Until so many posts came; raises NotObserved after ``within`` seconds."""
        await observe(self.count, lambda came: came >= wanted, f"{wanted} posts at the receiver", within)

    async def _ask(self, what: str) -> Any:
        async with self._session.get(f"{self.url}{CONTROL}/{what}") as response:
            return orjson.loads(await response.read())
