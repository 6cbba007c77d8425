"""What handlers need of the guarded client that posts to endpoints."""

from collections.abc import Mapping
from typing import Protocol

from channels.egress import EgressTimeouts
from channels.exchanges import ClientCertificate, ExchangeTrace


class EgressAnswer(Protocol):
    """What the guarded client gives back; ``body`` is at most its cap, not decompressed."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...

    @property
    def truncated(self) -> bool: ...

    @property
    def trace(self) -> ExchangeTrace: ...


class Egress(Protocol):
    """The guarded client: posts without following redirects, within its own time-outs and caps."""

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        party: str,
        timeouts: EgressTimeouts | None = None,
        certificate: ClientCertificate | None = None,
    ) -> EgressAnswer:
        """For ``party``, at whose cost its hanging names are. Raises DeliveryFault, EgressBlocked or LookupsBusy,
        each with its class, or InvalidInput for a header.
        """
        ...
