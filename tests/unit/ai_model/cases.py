"""A small shop, requests to it, and a model that says what a test tells it to."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from channels.errors import GatewayError
from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.model import Answer, Prompt
from handlers.ai.openai_engine import OpenAIEngine
from handlers.ai.prices import Tokens, require_tariff
from handlers.ai.types import CatalogueProduct, DraftLine, Extraction, ExtractionRequest

PRODUCTS = (
    CatalogueProduct(
        "COCA-600", "Coca-Cola 600 ml", "caja", Decimal(240), "Coca-Cola", ("coca 600",), 24, Decimal(50)
    ),
    CatalogueProduct("COCA-2L", "Coca-Cola 2 L", "caja", Decimal(260), "Coca-Cola", ("coca 2 litros",), 8),
    CatalogueProduct("CIEL-1", "Agua Ciel 1 L", "caja", Decimal(120), "Ciel", ("agua ciel",), 12),
    CatalogueProduct("CEB-BLA", "Cebolla blanca", "kg", Decimal(18), None, ("cebolla",), None, Decimal(200)),
)
CATALOGUE = IndexedCatalogue(PRODUCTS)
NOW = datetime.fromisoformat("2026-07-06T09:00:00-06:00")  # a Monday
TOKENS = Tokens(input=1400, cached=1000, output=220)
MARK = "0123456789abcdef"


def request(
    *texts: str, draft: dict[str, Any] | None = None, catalogue: IndexedCatalogue = CATALOGUE
) -> ExtractionRequest:
    lines = tuple(DraftLine(sku, Decimal(quantity)) for sku, quantity in (draft or {}).items())
    return ExtractionRequest(texts, catalogue, lines, NOW)


def said(intent: str = "BUY", *operations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "intent": intent,
        "language": "es",
        "operations": list(operations),
        "unmatched": [],
        "delivery_date": None,
        "delivery_span": None,
        **fields,
    }


def op(
    sku: str = "COCA-600", quantity: Any = "2", span: str = "2 cajas de coca 600", kind: str = "add"
) -> dict[str, Any]:
    return {"kind": kind, "sku": sku, "quantity": quantity, "span": span}


class ScriptedModel:
    """Gives one answer to everything, or raises an error."""

    def __init__(self, answer: Any, tokens: Tokens | None = TOKENS) -> None:
        self.answer = answer
        self.tokens = tokens
        self.prompts: list[Prompt] = []
        self.closed = False

    async def ask(self, prompt: Prompt) -> Answer:
        self.prompts.append(prompt)
        if isinstance(self.answer, GatewayError):
            raise self.answer
        if isinstance(self.answer, Answer):
            return self.answer
        text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return Answer(text, self.tokens, "req_1")

    async def aclose(self) -> None:
        self.closed = True


def engine_for(model: ScriptedModel) -> OpenAIEngine:
    return OpenAIEngine(model, "gpt-5-mini", require_tariff("gpt-5-mini"), lambda: MARK)


async def extract(answer: Any, asked: ExtractionRequest) -> Extraction:
    return await engine_for(ScriptedModel(answer)).extract(asked)
