"""The smallest complete channel, to be copied: docs/adding-a-channel.md walks through it. No gateway registers it.

Its made-up provider posts JSON signed with HMAC-SHA256 over the body, and takes JSON with a bearer token.
"""

import hmac
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from channels.addresses import provider_address
from channels.base import (
    Acknowledgement,
    Channel,
    ChannelAccount,
    Ignored,
    InboundItem,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    MessageType,
    OutboundMessage,
    OwnFault,
    SendReceipt,
    StatusUpdate,
)
from channels.credentials import check_names, list_of, matching
from channels.errors import MalformedPayload, OutcomeUnknown, VerificationFailed
from channels.json_posts import read_json
from channels.provider_api import ProviderApi, error_of_status

SIGNATURE = "X-Hello-Signature"
STATUSES = {"sent": MessageStatus.SENT, "delivered": MessageStatus.DELIVERED, "failed": MessageStatus.FAILED}


def hello_signature(secret: str, body: bytes) -> str:
    """The hex HMAC that the provider puts into its header."""
    return hmac.digest(secret.encode(), body, "sha256").hex()


class HelloAdapter:
    """A ChannelAdapter over a provider that keeps things simple."""

    name = "hello"
    channels = frozenset({Channel.SMS})
    body_cap = 64 * 1024
    refusal_status = HTTPStatus.FORBIDDEN
    own_fault = OwnFault.RETRIED  # it posts again after a 5xx, for a day

    def __init__(self, api_url: str, session: aiohttp.ClientSession | None = None) -> None:
        self._api_url = api_url
        self._api = ProviderApi(session)

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """`secrets` (signed with; more than one while they are rotated), `api_key`."""
        check_names(credentials, {"secrets", "api_key"})
        secrets = list_of(credentials, "secrets")
        if not secrets:
            raise ValueError("secrets: at least one is needed")  # nothing turns verification off
        return {"secrets": secrets, "api_key": matching(credentials, "api_key")}

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """All of it is secret."""
        return frozenset({*credentials["secrets"], credentials["api_key"]})

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Before anything is read. Any secret in force counts; each is compared in constant time."""
        given = request.headers.get(SIGNATURE, "").encode("utf-8", "surrogateescape")
        good = [hello_signature(secret, request.body).encode() for secret in account.credentials["secrets"]]
        if not any(hmac.compare_digest(given, one) for one in good):
            raise VerificationFailed

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """A message, a status or something that there will be one day; unknown fields are no fault."""
        match read_json(request.body):
            case {"type": "message", "id": str(key), "from": str(number), "text": str(text)} if key:
                sender = provider_address(Channel.SMS, number)
                return (InboundMessage(key, sender, account.address, Channel.SMS, MessageType.TEXT, text),)
            case {"type": "status", "id": str(key), "status": str(word)} if word in STATUSES:
                return (StatusUpdate(key, STATUSES[word], provider_status=word),)
            case {"type": str(kind)} if kind != "message":
                return (Ignored(f"event of the kind {kind[:40]}"),)
        raise MalformedPayload("The event has no type, or a message lacks its id, from or text.")

    def acknowledge(self) -> Acknowledgement:
        """What the provider takes for a success."""
        return Acknowledgement(HTTPStatus.OK, "application/json", b"{}")

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """One request and no more: who called decides on a second one by the error's type."""
        bearer = f"Bearer {account.credentials['api_key']}"
        headers = {"Authorization": bearer, "Content-Type": "application/json"}
        body = json.dumps({"to": message.recipient, "text": message.text, "ref": str(message.id)}).encode()
        answer = await self._api.exchange("POST", f"{self._api_url}/messages", headers=headers, body=body)
        if not answer.ok:
            raise error_of_status(answer)
        identifier = answer.document().get("id")
        if not isinstance(identifier, str):
            raise OutcomeUnknown  # taken, it seems
        return SendReceipt(identifier)

    async def aclose(self) -> None:
        """The connections of its own."""
        await self._api.aclose()
