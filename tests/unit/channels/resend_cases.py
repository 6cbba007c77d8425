"""The account and the posts that the Resend tests share."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundRequest
from channels.email_resend import ResendAdapter
from channels.signatures_svix import svix_signature

FIXTURES = Path(__file__).parents[2] / "fixtures" / "channels" / "resend"
ADDRESS = "orders@acme.example"
CUSTOMER = "rosa@tienda-rosa.example"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
OLD_SECRET = "whsec_YW5vdGhlciBzZWNyZXQgb2Ygb2xkIHRpbWVz"
CREDENTIALS: Mapping[str, Any] = {
    "api_key": "re_test_key_0001",
    "signing_secret": SECRET,
    "signing_secrets_previous": [],
}
URL = "https://gw.example.test/in/resend/0191d6a0-0000-7000-8000-000000000001"
OUR_MESSAGE = UUID("0191d6a0-0000-7000-8000-00000000abcd")
PROVIDER_ID = "56761188-7520-42d8-8898-ff6fc54ce618"
RECEIVED_ID = "4ef9a417-02e9-4d39-ad75-9611e0fcc33c"
TOKEN = "0123456789abcdef" * 2
NOW = datetime(2026, 11, 24, 8, 15, tzinfo=UTC)


def fixture(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return document


def account(**credentials: Any) -> ChannelAccount:
    return ChannelAccount(
        id=UUID(int=1),
        distributor_id=UUID(int=2),
        channel=Channel.EMAIL,
        provider="resend",
        address=ADDRESS,
        credentials={**CREDENTIALS, **credentials},
        settings={"sender_name": "Acme Orders"},
    )


def post(document: Any, secret: str = SECRET) -> InboundRequest:
    body = json.dumps(document).encode()
    stamp = int(NOW.timestamp())
    headers = {
        "content-type": "application/json",
        "svix-id": "msg_2aBcDeF",
        "svix-timestamp": str(stamp),
        "svix-signature": svix_signature(secret, "msg_2aBcDeF", stamp, body),
    }
    return InboundRequest("POST", URL, CIMultiDict(headers), body)


def adapter() -> ResendAdapter:
    return ResendAdapter(clock=lambda: NOW)
