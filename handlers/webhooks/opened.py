"""Sealed values of endpoints as deliveries use them: opened and read once, then kept in memory.

Opening a seal and decoding a key costs more than signing with it, and an endpoint's change only when it is changed: the
sealed bytes are others then, so nothing here is ever stale.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from db.sealing import Sealer

MOST_KEPT = 4096

ValueT = TypeVar("ValueT")


class OpenedSeals(Generic[ValueT]):
    """Values by what sealed them, the ``most`` that were used last. ``read`` makes a value of the opened JSON."""

    def __init__(self, sealer: Sealer, read: Callable[[Any], ValueT], most: int = MOST_KEPT) -> None:
        self._sealer = sealer
        self._read = read
        self._most = most
        self._kept: OrderedDict[tuple[bytes, str], ValueT] = OrderedDict()

    def open(self, sealed: bytes, context: str) -> ValueT:
        """The value that was sealed for ``context``; raises SealBroken, and what ``read`` does."""
        # The context is a part of the key: what was moved to another row must not open there.
        key = (sealed, context)
        value = self._kept.get(key)
        if value is None:
            value = self._read(self._sealer.open_json(sealed, context))
            if len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[key] = value
        else:
            self._kept.move_to_end(key)
        return value
