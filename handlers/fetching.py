"""What all work for a provider shares: an account with its secrets opened, a stored post, and when to try again."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from multidict import CIMultiDict

from channels.abilities import Downloads
from channels.base import Channel, ChannelAccount, InboundRequest
from channels.errors import BadCredentials, GatewayError, Temporary
from db.accounts import seal_context
from db.errors import SealBroken
from handlers.runtime import Runtime

# Seconds after a fault that may pass: a file is often there a moment later (Twilio answers 404 until it is), and what a
# provider's outage or an operator's wrong token held up may be had for three days. One attempt more than waits.
WAITS = (1, 3, 10, 30, 120, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 86_400)
_LONGEST_ASKED = 3600.0  # whatever a provider asks for


class SealedAccount(Protocol):
    """A row with an account's columns, its credentials sealed."""

    @property
    def channel_account_id(self) -> UUID: ...
    @property
    def channel(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def account_address(self) -> str: ...
    @property
    def credentials_sealed(self) -> bytes: ...
    @property
    def account_settings(self) -> dict[str, Any]: ...


class DownloadSource(Protocol):
    """Makes ``Downloads`` for a tenant (``channels.downloads.DownloadClient``)."""

    def from_provider(self, party: str) -> Downloads: ...

    def from_anywhere(self, party: str) -> Downloads: ...


def open_account(runtime: Runtime, distributor_id: UUID, row: SealedAccount) -> ChannelAccount:
    """The account with its secrets; raises BadCredentials where the master keys do not open them."""
    context = seal_context(distributor_id, row.channel_account_id)
    try:
        credentials = runtime.sealer.open_json(row.credentials_sealed, context)
    except SealBroken:
        raise BadCredentials("The account's credentials cannot be opened with the master keys.") from None
    return ChannelAccount(
        id=row.channel_account_id,
        distributor_id=distributor_id,
        channel=Channel(row.channel),
        provider=row.provider,
        address=row.account_address,
        credentials=credentials,
        settings=row.account_settings,
    )


def stored_request(
    runtime: Runtime, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> InboundRequest:
    """A stored post as it came, but for the headers that held credentials."""
    return InboundRequest(method, runtime.public_url + target, CIMultiDict(headers), body)


def next_try(error: GatewayError, attempts: int, now: datetime) -> datetime | None:
    """When to try again after the attempt of that number failed; None: it will never be had, or was tried enough.

    Refused credentials are tried again, too: a token that an operator has to put right must not lose files for ever.
    """
    if not isinstance(error, Temporary | BadCredentials) or attempts > len(WAITS):
        return None
    asked = error.retry_after if isinstance(error, Temporary) else None
    return now + timedelta(seconds=max(WAITS[attempts - 1], min(asked or 0, _LONGEST_ASKED)))
