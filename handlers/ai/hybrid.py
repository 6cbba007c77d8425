"""Rules first, a model only where they leave something open; whatever befalls the model, the rules' result
stands.
"""

from collections.abc import Callable
from dataclasses import replace

from channels.errors import GatewayError
from handlers.ai.confidence import AUTO_THRESHOLD
from handlers.ai.model import PaidFault
from handlers.ai.types import AIEngine, Band, Extraction, ExtractionRequest, Usage

NAME = "hybrid"
# So many failed calls in a row, and the model is left alone for so many seconds: a server that does not
# answer would hold every doubtful turn for its whole time-out.
FAILURE_LIMIT = 5
PAUSE_SECONDS = 30.0
_PAUSED = "paused"
# Below this the rules guess at an intent; among their sure answers the least sure is a greeting.
_INTENT_THRESHOLD = 0.8
Monotonic = Callable[[], float]


class Breaker:
    """Counts failures in a row. After the limit nothing is tried until the pause is over; then one more
    failure opens it again. It saves time and decides nothing else, so each process has its own.
    """

    def __init__(self, monotonic: Monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._closed_from = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= FAILURE_LIMIT and self._monotonic() < self._closed_from

    def succeed(self) -> None:
        self._failures = 0

    def fail(self) -> None:
        self._failures += 1
        self._closed_from = self._monotonic() + PAUSE_SECONDS


class HybridEngine:
    """Two engines as one. ``version`` says who answered: "rules-1", "rules-1+extract-2…" or, when the model
    was asked in vain or not at all, "rules-1+failed:throttled", "rules-1+failed:paused".
    """

    def __init__(self, rules: AIEngine, model: AIEngine, monotonic: Monotonic) -> None:
        self._rules = rules
        self._model = model
        self._breaker = Breaker(monotonic)

    @property
    def name(self) -> str:
        return NAME

    async def extract(self, request: ExtractionRequest) -> Extraction:
        """The rules' result if it is sure, else the model's, else the rules' result after all."""
        read = await self._rules.extract(request)
        if is_sure(read):
            return replace(read, engine=NAME)
        if self._breaker.is_open:
            return _without_model(read, _PAUSED)
        try:
            said = await self._model.extract(request)
        except PaidFault as fault:
            self._breaker.succeed()  # the server works, this answer does not
            return replace(_without_model(read, fault.code), usage=fault.usage)
        except GatewayError as error:
            self._breaker.fail()
            return _without_model(read, error.code)
        self._breaker.succeed()
        return replace(said, engine=NAME, version=f"{read.version}+{said.version}")

    async def aclose(self) -> None:
        """Closes both engines."""
        await self._rules.aclose()
        await self._model.aclose()


def is_sure(read: Extraction) -> bool:
    """Whether nothing is open: no line to confirm, no unmatched words, and an intent that is more than a
    guess.
    """
    if read.unmatched or any(operation.band is Band.CONFIRM for operation in read.operations):
        return False
    return read.confidence >= (AUTO_THRESHOLD if read.operations else _INTENT_THRESHOLD)


def _without_model(read: Extraction, reason: str) -> Extraction:
    """The rules' result, with the reason where everyone who reads the record sees it."""
    return replace(read, engine=NAME, version=f"{read.version}+failed:{reason}", usage=Usage())
