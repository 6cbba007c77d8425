"""What every order-understanding engine takes and returns, so that rules, OpenAI and hybrid are one port."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Language(StrEnum):
    """The languages that customers are answered in."""

    ES = "es"
    EN = "en"
    PT = "pt"


class Intent(StrEnum):
    """What a burst of messages wants; one per burst."""

    BUY = "BUY"
    MODIFY = "MODIFY"
    CANCEL = "CANCEL"
    CONFIRM = "CONFIRM"
    QUESTION = "QUESTION"
    COMPLAINT = "COMPLAINT"
    FOLLOW_UP = "FOLLOW_UP"
    GREETING = "GREETING"
    OPT_OUT = "OPT_OUT"
    HANDOFF = "HANDOFF"
    OTHER = "OTHER"


class Band(StrEnum):
    """Whether a line is sure enough to stand (auto) or must be confirmed by a person first."""

    AUTO = "auto"
    CONFIRM = "confirm"


class OperationKind(StrEnum):
    """What an operation does to the open draft."""

    ADD = "add"  # quantity more of the product
    SET = "set"  # the line's quantity becomes this
    REMOVE = "remove"  # the line goes


@dataclass(frozen=True, slots=True)
class CatalogueProduct:
    """A product as a matcher may know it: words, sale unit, pack size (single pieces in one sale unit) and
    price.
    """

    sku: str
    name: str
    unit: str
    unit_price: Decimal | None = None
    brand: str | None = None
    aliases: tuple[str, ...] = ()
    pack_size: int | None = None
    max_quantity: Decimal | None = None
    product_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DraftLine:
    """A line of the open order: quantity in the product's sale unit, and how sure the line is so far."""

    sku: str
    quantity: Decimal
    confidence: float = 1.0
    band: Band = Band.AUTO


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to the draft, bound to the words that asked for it.

    ``quantity`` is in the product's sale unit; None only for REMOVE. ``span`` occurs word for word in one
    of the texts. ``parts`` holds the observable scores behind ``confidence`` (0..1), so that a dispute can
    be explained.
    """

    kind: OperationKind
    sku: str
    quantity: Decimal | None
    confidence: float
    band: Band
    span: str = ""
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a model call consumed; zero for the rules engine."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ExtractionRequest:
    """One burst to understand: its texts in order, the catalogue, the open draft and the tenant's local time.

    ``now`` is aware and in the tenant's zone; relative days count from its local date.
    """

    texts: tuple[str, ...]
    catalogue: "Catalogue"
    draft: tuple[DraftLine, ...]
    now: datetime
    language_hint: Language = Language.ES


@dataclass(frozen=True, slots=True)
class Extraction:
    """What an engine understood: an intent and operations on the draft, never the order itself."""

    engine: str
    version: str
    intent: Intent
    language: Language
    operations: tuple[Operation, ...]
    unmatched: tuple[str, ...]
    delivery_date: date | None
    confidence: float
    usage: Usage = Usage()
    model: str | None = None


class Catalogue(Protocol):
    """A tenant's products, indexed once for matching and shared by all turns of one catalogue version."""

    @property
    def products(self) -> tuple[CatalogueProduct, ...]: ...

    def find(self, sku: str) -> CatalogueProduct | None: ...


class AIEngine(Protocol):
    """Turns one burst into an extraction. Raises ``Temporary`` or ``Permanent`` of ``channels.errors``."""

    @property
    def name(self) -> str: ...

    async def extract(self, request: ExtractionRequest) -> Extraction: ...

    async def aclose(self) -> None:
        """Closes what the engine opened for itself."""
        ...
