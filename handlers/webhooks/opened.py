"""Sealed values of endpoints as deliveries use them: opened and read once, then kept in memory.

Opening a seal and decoding a key costs more than signing with it, and an endpoint's change only when it is changed: the
sealed bytes are others then, so nothing here is ever stale.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from uuid import UUID

from db.sealing import Sealer

MOST_KEPT = 4096

ValueT = TypeVar("ValueT")


class OpenedSeals(Generic[ValueT]):
    """Values by what sealed them, the ``most`` that were used last.

    ``context`` says what an endpoint's seal is bound to, ``read`` makes a value of the opened JSON.
    """

    def __init__(
        self,
        sealer: Sealer,
        context: Callable[[UUID, UUID], str],
        read: Callable[[Any], ValueT],
        most: int = MOST_KEPT,
    ) -> None:
        self._sealer = sealer
        self._context = context
        self._read = read
        self._most = most
        self._kept: OrderedDict[tuple[bytes, UUID, UUID], ValueT] = OrderedDict()

    def open(self, sealed: bytes, distributor_id: UUID, endpoint_id: UUID) -> ValueT:
        """What was sealed for the tenant's endpoint; raises SealBroken, and what ``read`` does."""
        # Whose it is, is a part of the key: what was moved to another row must not open there.
        key = (sealed, distributor_id, endpoint_id)
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
            return value
        value = self._read(self._sealer.open_json(sealed, self._context(distributor_id, endpoint_id)))
        self._kept[key] = value
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value
