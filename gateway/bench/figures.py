"""What is made of measured numbers: percentiles, medians, ratios of paired rounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of `docs/benchmarks.md` that is to be reached, and what was measured."""

    name: str
    measured: float
    goal: float
    at_least: bool = True

    @property
    def reached(self) -> bool:
        return self.measured >= self.goal if self.at_least else self.measured <= self.goal

    def as_json(self) -> dict[str, object]:
        """For machines."""
        sign = ">=" if self.at_least else "<="
        return {
            "name": self.name,
            "measured": self.measured,
            "goal": f"{sign} {self.goal:g}",
            "reached": self.reached,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of all are not above; NaN for none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Number, median, 95th and 99th percentile and maximum, rounded to a hundredth."""
    figures = {
        "p50": percentile(values, 0.50),
        "p95": percentile(values, 0.95),
        "p99": percentile(values, 0.99),
        "max": max(values, default=math.nan),
    }
    return {"count": len(values), **{name: round(value, 2) for name, value in figures.items()}}


def median_of(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    """The median of one figure over all rounds."""
    return round(median(each[name] for each in rounds), 3)


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the rounds' own ratios: what slows the machine down for a while slows both parts of a round."""
    return round(median(a / b for a, b in zip(over, under, strict=True)), 3)
