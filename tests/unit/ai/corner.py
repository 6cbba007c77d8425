"""An invented corner shop: products in two sizes or kinds, container words as names, no limits of quantity."""

from datetime import datetime
from decimal import Decimal
from functools import cache

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.rules import understand
from handlers.ai.types import CatalogueProduct, DraftLine, Extraction, ExtractionRequest, Language

NOW = datetime.fromisoformat("2026-04-15T10:00:00-06:00")  # a Wednesday


def _product(
    sku: str, name: str, unit: str, aliases: str = "", pack: int | None = None, brand: str | None = None
) -> CatalogueProduct:
    names = tuple(alias for alias in aliases.split(";") if alias)
    return CatalogueProduct(sku, name, unit, Decimal(1), brand, names, pack)


PRODUCTS = (
    _product("COC", "Coca-Cola 600 ml", "caja", "coca;coca cola;coca 600", 24, "Coca-Cola"),
    _product("COCZ", "Coca-Cola Zero 600 ml", "caja", "coca zero", 24, "Coca-Cola"),
    _product("SPR", "Sprite 600 ml", "caja", "sprite", 24),
    _product("FANTA", "Fanta naranja 600 ml", "caja", "fanta", 24),
    _product("COR", "Cerveza Corona 355 ml", "caja", "corona;coronita", 24, "Corona"),
    _product("MOD", "Cerveza Modelo Especial 355 ml", "caja", "modelo;modelo especial", 24),
    _product("NEG", "Cerveza Negra Modelo 355 ml", "caja", "negra modelo", 24),
    _product("AZU1", "Azúcar 1 kg", "bolsa", "azúcar;sugar;açúcar"),
    _product("AZU25", "Azúcar costal 25 kg", "costal"),
    _product("ARR", "Arroz 1 kg", "bolsa", "arroz;rice"),
    _product("GARR", "Garrafón de agua 20 L", "garrafón", "garrafón;garrafon agua;galão de água"),
    _product("HUE", "Huevo blanco tapa 30", "tapa", "huevo;huevos;eggs;ovos", 30),
    _product("SAB", "Sabritas 45 g", "bolsa", "sabritas;papas sabritas"),
    _product("LECH", "Leche entera 1 L", "caja", "leche;leche entera;milk;leite", 12),
    _product("LECD", "Leche deslactosada 1 L", "caja", "leche deslactosada;lactose free milk", 12),
    _product("PAP", "Papel higiénico", "paquete", "papel;toilet paper", 4),
    _product("JAM", "Jamón de pavo", "kg", "jamón"),
    _product("VAS", "Vaso desechable 12 oz", "paquete", "vasos;vaso;cups;copos", 50),
)


@cache
def corner() -> IndexedCatalogue:
    return IndexedCatalogue(PRODUCTS)


def told(*texts: str, draft: str = "", hint: str = "es") -> Extraction:
    """The rules engine's extraction for the corner shop; ``draft`` is written "COC=3 COR=2"."""
    lines = tuple(DraftLine(sku, Decimal(n)) for sku, n in (entry.split("=") for entry in draft.split()))
    return understand(ExtractionRequest(texts, corner(), lines, NOW, Language(hint)))
