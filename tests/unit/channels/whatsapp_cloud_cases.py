"""The account and the captured-shape posts that the tests of Meta's WhatsApp share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundRequest
from channels.signatures_meta import META_SIGNATURE, meta_signature
from channels.whatsapp_cloud import WhatsAppCloudAdapter

FIXTURES = Path(__file__).parents[2] / "fixtures" / "channels" / "whatsapp_cloud"
NUMBER_ID = "106540352242922"
OTHER_NUMBER_ID = "106540352249999"
ADDRESS = "+15550002222"
CUSTOMER = "+34600123456"
USER_ID = "ES.13491208655302741918"
OUR_MESSAGE = UUID("0191d6a0-0000-7000-8000-00000000abcd")
SENT_ID = "wamid.HBgLMzQ2MDAxMjM0NTYVAgARGBI0QkE4NjM1QTU2NjVGOURGQgA="
URL = "https://gw.example.test/in/whatsapp_cloud/0191d6a0-0000-7000-8000-000000000001"
CREDENTIALS: Mapping[str, Any] = {
    "phone_number_id": NUMBER_ID,
    "waba_id": "102290129340398",
    "app_secret": "app_secret_1",
    "app_secrets_previous": [],
    "access_token": "EAAJtoken-1",
    "verify_token": "verify-me-1",
}


def fixture(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return document


def account(**credentials: Any) -> ChannelAccount:
    return ChannelAccount(
        id=UUID(int=1),
        distributor_id=UUID(int=2),
        channel=Channel.WHATSAPP,
        provider="whatsapp_cloud",
        address=ADDRESS,
        credentials={**CREDENTIALS, **credentials},
    )


def post(document: Any, secret: str = "app_secret_1") -> InboundRequest:
    return post_bytes(json.dumps(document).encode(), secret)


def post_bytes(body: bytes, secret: str = "app_secret_1") -> InboundRequest:
    headers = {"content-type": "application/json", META_SIGNATURE: meta_signature(secret, body)}
    return InboundRequest("POST", URL, CIMultiDict(headers), body)


def items_of(document: Any, **credentials: Any) -> tuple[Any, ...]:
    """What the adapter makes of a post that Meta signed."""
    request = post(document)
    owner = account(**credentials)
    adapter = WhatsAppCloudAdapter()
    adapter.verify(owner, request)
    return adapter.parse(owner, request)


def first_message(document: Any) -> dict[str, Any]:
    message: dict[str, Any] = document["entry"][0]["changes"][0]["value"]["messages"][0]
    return message
