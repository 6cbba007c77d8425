"""What a model call costs: a versioned price table, so that a bill can be explained after prices have
changed.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from importlib.resources import files
from typing import Any


class UnknownModel(ValueError):
    """There is no price for that model, so no budget could hold; the message names those that there are."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a call consumed; ``cached`` and ``cache_write`` are parts of ``input``, reasoning is part of
    ``output``.
    """

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """One row of the table. USD per million tokens are micro-USD per token, so no factor is needed."""

    name: str
    valid_from: date
    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal
    effort: str | None = None

    def cost(self, tokens: Tokens) -> int:
        """The micro-USD of a call, rounded up: never below the bill."""
        plain = max(tokens.input - tokens.cached - tokens.cache_write, 0)
        exact = (
            plain * self.input
            + tokens.cached * self.cached_input
            + tokens.cache_write * self.cache_write
            + tokens.output * self.output
        )
        return int(exact.to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class ModelTariff:
    """The prices of one model over time, oldest first; empty for a model that costs nothing here."""

    rows: tuple[ModelPrice, ...] = ()

    @property
    def effort(self) -> str | None:
        """The reasoning effort to ask for; None where the model may not know the parameter."""
        return self.rows[-1].effort if self.rows else None

    def cost(self, tokens: Tokens, day: date) -> int:
        """The micro-USD of a call on that day; before the first row's day its prices count too."""
        if not self.rows:
            return 0
        valid = [row for row in self.rows if row.valid_from <= day] or self.rows[:1]
        return valid[-1].cost(tokens)


FREE = ModelTariff()
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def read_prices(text: str) -> tuple[ModelPrice, ...]:
    """The rows of a price table in TOML, oldest first."""
    rows = (_row(raw) for raw in tomllib.loads(text)["model"])
    return tuple(sorted(rows, key=lambda row: row.valid_from))


def _row(raw: dict[str, Any]) -> ModelPrice:
    prices = {name: Decimal(raw[name]) for name in ("input", "cached_input", "cache_write", "output")}
    return ModelPrice(raw["name"], raw["valid_from"], effort=raw.get("effort"), **prices)


PRICES = read_prices(files("handlers.ai").joinpath("data/models.toml").read_text(encoding="utf-8"))


def find_tariff(model: str, prices: Iterable[ModelPrice] = PRICES) -> ModelTariff | None:
    """The prices of a model, or of the model that a dated snapshot ("gpt-5-mini-2025-08-07") is of; None if
    unknown.
    """
    known = tuple(prices)
    base = _SNAPSHOT.sub("", model)
    rows = tuple(row for row in known if row.name in {model, base})
    return ModelTariff(rows) if rows else None


def require_tariff(model: str, prices: Iterable[ModelPrice] = PRICES) -> ModelTariff:
    """The prices of a model. Raises UnknownModel, which names the known ones."""
    known = tuple(prices)
    tariff = find_tariff(model, known)
    if tariff is None:
        names = ", ".join(dict.fromkeys(row.name for row in known))
        raise UnknownModel(f"no price is known for the model {model!r}; there are {names}")
    return tariff
