"""What a model is told and how it must answer.

Everything from outside, product names too, is data: cleaned, fenced, in a message of its own.
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from handlers.ai.model import Prompt
from handlers.ai.quotes import clean, own_words
from handlers.ai.types import CatalogueProduct, ExtractionRequest, Intent, Language, OperationKind

PROMPT_VERSION = "extract-2"
MAX_TEXT = 4000
_MAX_NAME = 120
_MAX_ALIASES = 6
# Strict schemas need at least one value; the guard knows no such product.
_NO_SKU = "none"

INSTRUCTIONS = files("handlers.ai").joinpath("data/extraction_prompt.txt").read_text(encoding="utf-8")


def build_prompt(request: ExtractionRequest, candidates: Sequence[CatalogueProduct], mark: str) -> Prompt:
    """The prompt of one burst. ``mark`` must be unguessable: it tells the customer's words from ours."""
    texts, _ = visible_texts(request.texts)
    numbered = "\n\n".join(f"Message {number}:\n{text}" for number, text in enumerate(texts, start=1))
    return Prompt(
        instructions=INSTRUCTIONS,
        context=_fence("CATALOGUE DATA", json.dumps(_context(request, candidates), ensure_ascii=False), mark),
        messages=_fence("CUSTOMER MESSAGES", numbered, mark),
        schema=answer_schema([product.sku for product in candidates]),
    )


def visible_texts(texts: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """What of the burst is shown, at most MAX_TEXT characters in all, and what had to be left out."""
    room, shown, left = MAX_TEXT, [], []
    for text in (clean(own_words(text)) for text in texts):
        shown.append(text[:room])
        left.append(text[room:])
        room -= len(shown[-1])
    return tuple(text for text in shown if text), "\n".join(text for text in left if text)


def _fence(title: str, text: str, mark: str) -> str:
    return f"{title}\n{mark}\n{text}\n{mark}"


def _context(request: ExtractionRequest, candidates: Sequence[CatalogueProduct]) -> dict[str, Any]:
    return {
        "today": request.now.date().isoformat(),
        "weekday": request.now.strftime("%A"),
        "open_order": [{"sku": line.sku, "quantity": f"{line.quantity:f}"} for line in request.draft],
        "catalogue": [_product(product) for product in candidates],
    }


def _product(product: CatalogueProduct) -> dict[str, Any]:
    """A product without its price: what the model does not know it cannot give away."""
    fields: dict[str, Any] = {
        "sku": product.sku,
        "name": clean(product.name, _MAX_NAME),
        "unit": clean(product.unit, _MAX_NAME),
        "brand": clean(product.brand, _MAX_NAME) if product.brand else None,
        "aliases": [clean(alias, _MAX_NAME) for alias in product.aliases[:_MAX_ALIASES]],
        "pack_size": product.pack_size,
        "max_quantity": None if product.max_quantity is None else f"{product.max_quantity:f}",
    }
    return {name: value for name, value in fields.items() if value}


def answer_schema(skus: Sequence[str]) -> dict[str, Any]:
    """The strict JSON schema of an answer: closed objects, every property required, only these SKUs."""
    operation = _closed(
        {
            "kind": {"type": "string", "enum": [kind.value for kind in OperationKind]},
            "sku": {"type": "string", "enum": list(dict.fromkeys(skus)) or [_NO_SKU]},
            "quantity": {"type": ["string", "null"]},
            "span": {"type": "string"},
        }
    )
    return _closed(
        {
            "intent": {"type": "string", "enum": [intent.value for intent in Intent]},
            "language": {"type": "string", "enum": [language.value for language in Language]},
            "operations": {"type": "array", "items": operation},
            "unmatched": {"type": "array", "items": {"type": "string"}},
            "delivery_date": {"type": ["string", "null"]},
            "delivery_span": {"type": ["string", "null"]},
        }
    )


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
