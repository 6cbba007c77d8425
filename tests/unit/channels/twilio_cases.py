"""The account and the captured-shape payloads that the Twilio tests share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundRequest
from channels.forms import FORM_TYPE
from channels.signatures import TWILIO_SIGNATURE, twilio_signature

FIXTURES = Path(__file__).parents[2] / "fixtures" / "channels" / "twilio"
ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
TOKEN = "tok_12345"
URL = "https://gw.example.test/in/twilio/0191d6a0-0000-7000-8000-000000000001"
OUR_MESSAGE = UUID("0191d6a0-0000-7000-8000-00000000abcd")
STATUS_URL = f"{URL}/status?message={OUR_MESSAGE}"
CREDENTIALS: Mapping[str, Any] = {
    "account_sid": ACCOUNT_SID,
    "auth_token": TOKEN,
    "auth_tokens_previous": [],
    "signing_keys": {},
}


def fixture(name: str) -> dict[str, str]:
    fields: dict[str, str] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return fields


def account(channel: Channel = Channel.SMS, **credentials: Any) -> ChannelAccount:
    return ChannelAccount(
        id=UUID(int=1),
        distributor_id=UUID(int=2),
        channel=channel,
        provider="twilio",
        address="+15550002222",
        credentials={**CREDENTIALS, **credentials},
    )


def post(fields: Mapping[str, str], url: str = URL, token: str = TOKEN) -> InboundRequest:
    headers = {"content-type": FORM_TYPE, TWILIO_SIGNATURE: twilio_signature(token, url, fields.items())}
    return InboundRequest("POST", url, CIMultiDict(headers), urlencode(fields).encode())
