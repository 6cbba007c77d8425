"""Rules first, a model only where they leave something open; whatever befalls the model, the rules' result
stands.
"""

from dataclasses import replace

from channels.errors import GatewayError
from handlers.ai.confidence import AUTO_THRESHOLD
from handlers.ai.model import PaidFault
from handlers.ai.types import AIEngine, Band, Extraction, ExtractionRequest, Usage

NAME = "hybrid"
# Below this the rules guess at an intent; among their sure answers the least sure is a greeting.
_INTENT_THRESHOLD = 0.8


class HybridEngine:
    """Two engines as one. ``version`` says who answered: "rules-1", "rules-1+extract-1…",
    "rules-1+failed:throttled".
    """

    def __init__(self, rules: AIEngine, model: AIEngine) -> None:
        self._rules = rules
        self._model = model

    @property
    def name(self) -> str:
        return NAME

    async def extract(self, request: ExtractionRequest) -> Extraction:
        """The rules' result if it is sure, else the model's, else the rules' result after all."""
        read = await self._rules.extract(request)
        if is_sure(read):
            return replace(read, engine=NAME)
        try:
            said = await self._model.extract(request)
        except GatewayError as error:
            # Not lost: the version names the error, and what an unusable answer cost stays on the bill.
            usage = error.usage if isinstance(error, PaidFault) else Usage()
            return replace(read, engine=NAME, version=f"{read.version}+failed:{error.code}", usage=usage)
        return replace(said, engine=NAME, version=f"{read.version}+{said.version}")


def is_sure(read: Extraction) -> bool:
    """Whether nothing is open: no line to confirm, no unmatched words, and an intent that is more than a
    guess.
    """
    if read.unmatched or any(operation.band is Band.CONFIRM for operation in read.operations):
        return False
    return read.confidence >= (AUTO_THRESHOLD if read.operations else _INTENT_THRESHOLD)
