"""The OpenAI engine: candidates by our own recall, one model call with a strict schema, and a guard behind
it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import date

from pydantic import ValidationError

from channels.errors import ModelFault
from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.guard import ModelAnswer, check
from handlers.ai.lines import Offer
from handlers.ai.model import Answer, ModelClient, ModelOptions, PaidFault, Prompt
from handlers.ai.prices import FREE, ModelTariff, Tokens, find_tariff, require_tariff
from handlers.ai.prompts import PROMPT_VERSION, build_prompt
from handlers.ai.recall import MAX_CANDIDATES, recall
from handlers.ai.rules import VERSION as RULES_VERSION
from handlers.ai.rules import understand
from handlers.ai.types import Extraction, ExtractionRequest, Usage

# Draft lines beyond this are left to people.
_MAX_DRAFT = 60
_MAX_ANSWER = 100_000  # characters
NewMark = Callable[[], str]


def choose_tariff(options: ModelOptions) -> ModelTariff:
    """The model's prices; a model that only another server knows costs nothing here.

    Raises UnknownModel for a model of OpenAI's without a price: no budget could hold.
    """
    if options.is_openai:
        return require_tariff(options.model)
    return find_tariff(options.model) or FREE


def make_openai_engine(options: ModelOptions, new_mark: NewMark) -> "OpenAIEngine":
    """The engine with a client of its own. ``new_mark`` gives an unguessable word for each prompt. Raises
    UnknownModel.
    """
    from handlers.ai.openai_client import OpenAIClient  # noqa: PLC0415 - importing the SDK takes a second

    tariff = choose_tariff(options)
    return OpenAIEngine(OpenAIClient(options, tariff.effort), options.model, tariff, new_mark)


class OpenAIEngine:
    """Asks a model about every burst. Stateless beside its client; one instance serves all tenants."""

    def __init__(self, client: ModelClient, model: str, tariff: ModelTariff, new_mark: NewMark) -> None:
        self._client = client
        self._model = model
        self._tariff = tariff
        self._new_mark = new_mark

    @property
    def name(self) -> str:
        return "openai"

    async def aclose(self) -> None:
        """Closes the client's connections."""
        await self._client.aclose()

    async def extract(self, request: ExtractionRequest) -> Extraction:
        """What the burst means, after the guard; see ``handlers.ai.guard``.

        Raises Temporary or Permanent; PaidFault, which is Permanent, where an answer came that cannot be
        used.
        """
        # What reads the catalogue with the rules runs in threads, so that other turns go on meanwhile.
        offer = await asyncio.to_thread(make_offer, request)
        prompt = build_prompt(offer.request, offer.candidates, self._new_mark())
        answer = await self._client.ask(prompt)
        usage = self._usage(answer, prompt, request.now.date())
        return await asyncio.to_thread(self._extraction, _read(answer, usage), offer, usage)

    def _usage(self, answer: Answer, prompt: Prompt, day: date) -> Usage:
        """The bill, taken before the answer is looked at; where the server does not count, the most it can
        be.
        """
        tokens: Tokens = answer.tokens or prompt.most_tokens
        cost = self._tariff.cost(tokens, day)
        return Usage(tokens.input, tokens.cached, tokens.output, cost, answer.request_id)

    def _extraction(self, answer: ModelAnswer, offer: Offer, usage: Usage) -> Extraction:
        checked = check(answer, offer)
        return Extraction(
            engine=self.name,
            version=f"{PROMPT_VERSION}+{RULES_VERSION}",
            intent=checked.intent,
            language=answer.language,
            operations=checked.operations,
            unmatched=checked.unmatched,
            delivery_date=checked.delivery_date,
            confidence=checked.confidence,
            usage=usage,
            model=self._model,
        )


def make_offer(request: ExtractionRequest) -> Offer:
    """What the model may choose from: products of the draft and of the rules' lines, then the likeliest."""
    held = request.catalogue
    catalogue = held if isinstance(held, IndexedCatalogue) else IndexedCatalogue(held.products)
    # A line whose product left the catalogue stays as it is: nobody can match or count it.
    draft = tuple(line for line in request.draft if catalogue.find(line.sku))
    known = replace(request, catalogue=catalogue, draft=draft)
    rules = understand(known)
    drafted = [line.sku for line in draft[:_MAX_DRAFT]]
    found = [operation.sku for operation in rules.operations if operation.sku not in drafted]
    limit = MAX_CANDIDATES + len(drafted)
    return Offer(known, catalogue, recall(catalogue, request.texts, [*drafted, *found], limit), rules)


def _read(answer: Answer, usage: Usage) -> ModelAnswer:
    if answer.fault is not None:
        raise PaidFault(answer.fault, usage)
    try:
        return ModelAnswer.model_validate_json(answer.text[:_MAX_ANSWER])
    except ValidationError:
        # Without its cause, which quotes the answer and with it the customer.
        raise PaidFault(ModelFault.MALFORMED, usage) from None
