"""CPU time per message, at the evaluation's own catalogues and at synthetic ones of a thousand and ten
thousand products.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.rules import understand
from handlers.ai.types import CatalogueProduct, ExtractionRequest

_NOUNS = [
    "tomate",
    "cebolla",
    "papa",
    "queso",
    "leche",
    "agua",
    "jugo",
    "vino",
    "cerveza",
    "aceite",
    "arroz",
    "harina",
    "azucar",
    "sal",
    "pan",
    "galleta",
    "yogur",
    "crema",
    "manteca",
    "jamon",
    "salsa",
    "atun",
    "sardina",
    "frijol",
    "lenteja",
    "pasta",
    "fideo",
    "servilleta",
    "vaso",
    "plato",
    "bolsa",
    "caja",
    "detergente",
    "guante",
    "papel",
    "toalla",
    "cafe",
    "te",
    "mate",
    "soda",
]
_KINDS = [
    "blanco",
    "rojo",
    "verde",
    "negro",
    "grande",
    "chico",
    "entero",
    "light",
    "natural",
    "clasico",
    "fino",
    "grueso",
    "dulce",
    "salado",
    "seco",
    "molido",
    "rallado",
    "mixto",
]
_SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "la",
    "me",
    "ni",
    "po",
    "ru",
    "sa",
    "te",
    "vi",
    "zo",
    "cha",
    "lle",
    "mar",
    "nor",
    "pel",
    "tri",
]
_BRANDS = tuple(
    "".join(parts).capitalize() for parts in itertools.product(_SYLLABLES, repeat=3)
)  # 8,000 words
_SIZES = ("250 g", "500 g", "1 kg", "5 kg", "330 ml", "500 ml", "1 L", "2 L", "5 L", "x 12", "x 24", "20 cm")


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU milliseconds per message."""

    products: int
    p50: float
    p95: float
    index_seconds: float


def synthetic_catalogue(size: int, real: Sequence[CatalogueProduct]) -> list[CatalogueProduct]:
    """The real products and invented ones that share words with them, ``size`` in all."""
    return [*real, *itertools.islice(_invented(), max(0, size - len(real)))]


def _invented() -> Iterator[CatalogueProduct]:
    kinds = itertools.cycle(itertools.product(_NOUNS, _KINDS, _SIZES))
    for number, (brand, (noun, kind, size)) in enumerate(zip(itertools.cycle(_BRANDS), kinds, strict=False)):
        name = f"{noun.capitalize()} {kind} {brand} {size}"
        yield CatalogueProduct(
            sku=f"SYN-{number}",
            name=name,
            unit="caja",
            unit_price=Decimal(1),
            brand=brand,
            aliases=(f"{noun} {brand} {size}",),
            max_quantity=Decimal(500),
        )


def time_requests(requests: Sequence[ExtractionRequest], products: int, index_seconds: float = 0.0) -> Timing:
    """CPU time of understanding each request once, after a first round that warms the caches."""
    spent = []
    for request in requests:
        begin = time.process_time()
        understand(request)
        spent.append((time.process_time() - begin) * 1000)
    cuts = statistics.quantiles(spent, n=20)
    return Timing(products, statistics.median(spent), cuts[18], index_seconds)


def time_synthetic(requests: Sequence[ExtractionRequest], size: int) -> Timing:
    """The same requests against a catalogue of that size."""
    begin = time.process_time()
    index = IndexedCatalogue(synthetic_catalogue(size, requests[0].catalogue.products))
    seconds = time.process_time() - begin
    return time_requests([replace(request, catalogue=index) for request in requests], size, seconds)
