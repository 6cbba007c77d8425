"""A tenant's catalogue, indexed once per version and kept in memory; a lost entry costs time, never
correctness.
"""

from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

from db.turns import CatalogueRow
from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.types import CatalogueProduct


class CatalogueCache:
    """The indexed catalogues of the tenants that wrote last; ``size`` is how many are kept."""

    def __init__(self, size: int = 200) -> None:
        self._size = size
        self._entries: OrderedDict[UUID, tuple[int, IndexedCatalogue]] = OrderedDict()

    def find(self, distributor_id: UUID, version: int) -> IndexedCatalogue | None:
        """The catalogue of exactly this version, or None."""
        kept_version, catalogue = self._entries.get(distributor_id, (None, None))
        if kept_version != version:
            return None
        self._entries.move_to_end(distributor_id)
        return catalogue

    def keep(self, distributor_id: UUID, version: int, rows: Sequence[CatalogueRow]) -> IndexedCatalogue:
        """Indexes a catalogue and keeps it."""
        catalogue = IndexedCatalogue(tuple(_product(row) for row in rows))
        self._entries[distributor_id] = (version, catalogue)
        self._entries.move_to_end(distributor_id)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return catalogue


def _product(row: CatalogueRow) -> CatalogueProduct:
    return CatalogueProduct(
        sku=row.sku,
        name=row.name,
        unit=row.unit,
        unit_price=row.unit_price,
        brand=row.brand,
        aliases=tuple(row.aliases),
        pack_size=row.pack_size,
        max_quantity=row.max_quantity,
        product_id=row.id,
    )
