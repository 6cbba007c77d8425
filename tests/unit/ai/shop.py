"""An invented catalogue with one product per way of selling, and a short way to ask the rules engine."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.rules import understand
from handlers.ai.types import (
    CatalogueProduct,
    DraftLine,
    Extraction,
    ExtractionRequest,
    Language,
    OperationKind,
)

HERE = Path(__file__).parent
NOW = datetime.fromisoformat("2026-04-15T10:00:00-06:00")  # a Wednesday


def product(
    sku: str, name: str, unit: str, aliases: str = "", pack: int | None = None, limit: int = 200
) -> CatalogueProduct:
    return CatalogueProduct(
        sku=sku,
        name=name,
        unit=unit,
        unit_price=Decimal(1),
        aliases=tuple(alias for alias in aliases.split(";") if alias),
        pack_size=pack,
        max_quantity=Decimal(limit),
    )


PRODUCTS = (
    product("TOM", "Tomate", "kg", "tomatoes"),
    product("SODA", "Soda Lima lata 350 ml", "caja", "soda lima;lime soda;soda de limão", 24),
    product("NAP", "Servilleta", "paquete", "napkins;guardanapo", 50),
    product("EGG", "Huevo", "maple", "eggs;ovos", 30),
    product("WINE", "Vino tinto 750 ml", "botella", "vino tinto;red wine;vinho tinto"),
    product("SUG", "Azúcar 1 kg", "unidad", "azúcar;sugar;açúcar"),
    product("CIL", "Cilantro", "manojo", "coriander;coentro"),
    product("MILK", "Leche 1 L", "caja", "leche;milk;leite", 12),
    product("PIN", "Piña", "pieza", "pineapple;abacaxi"),
    product("OIL", "Aceite 5 L", "bidón", "aceite;oil;óleo"),
    product("BUT", "Manteca 200 g", "unidad", "manteca;butter;manteiga"),
    product("ONW", "Cebolla blanca", "kg", "white onion;cebola branca"),
    product("ONR", "Cebolla morada", "kg", "red onion;cebola roxa"),
    product("COLC", "Cola Sol lata 350 ml", "caja", "", 24),
    product("COL6", "Cola Sol PET 600 ml", "caja", "", 24),
    product("COLZ", "Cola Sol Zero lata 350 ml", "caja", "", 24),
    product("LIDC", "Tapa para vaso de papel 240 ml", "paquete", "", 50),
    product("CUP", "Vaso de papel 240 ml", "paquete", "", 50),
)


@cache
def shop() -> IndexedCatalogue:
    return IndexedCatalogue(PRODUCTS)


def ask(*texts: str, language: str = "es", draft: str = "", now: datetime = NOW) -> Extraction:
    """The rules engine's extraction; ``draft`` is written "TOM=3 CIL=2"."""
    lines = tuple(
        DraftLine(sku, Decimal(quantity)) for sku, quantity in (entry.split("=") for entry in draft.split())
    )
    return understand(ExtractionRequest(texts, shop(), lines, now, Language(language)))


def said(extraction: Extraction) -> str:
    """The operations in one line: "add TOM=3; set CIL=2; remove EGG"."""
    return "; ".join(
        f"remove {o.sku}"
        if o.kind is OperationKind.REMOVE or o.quantity is None
        else f"{o.kind.value} {o.sku}={o.quantity:f}"
        for o in extraction.operations
    )


def cases(name: str) -> Sequence[tuple[str, ...]]:
    """The rows of a table file beside the tests."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("|")) for line in lines if line and not line.startswith("#")]
