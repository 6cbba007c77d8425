"""The account and the posts that the Postmark tests share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundRequest
from channels.basic_auth import basic_authorisation

FIXTURES = Path(__file__).parents[2] / "fixtures" / "channels" / "postmark"
ADDRESS = "orders@acme.example"
CUSTOMER = "rosa@tienda-rosa.example"
LOGIN = {"username": "postmark", "password": "hook-password-1"}
CREDENTIALS: Mapping[str, Any] = {"server_token": "server-token-0001", "basic_auth": LOGIN}
URL = "https://gw.example.test/in/postmark/0191d6a0-0000-7000-8000-000000000001"
OUR_MESSAGE = UUID("0191d6a0-0000-7000-8000-00000000abcd")
TOKEN = "0123456789abcdef" * 2
PROVIDER_ID = "883953f4-6105-42a2-a16a-77a8eac79483"


def fixture(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return document


def account(**credentials: Any) -> ChannelAccount:
    return ChannelAccount(
        id=UUID(int=1),
        distributor_id=UUID(int=2),
        channel=Channel.EMAIL,
        provider="postmark",
        address=ADDRESS,
        credentials={**CREDENTIALS, **credentials},
        settings={"sender_name": "Acme Orders"},
    )


def post(document: Any, login: Mapping[str, str] = LOGIN) -> InboundRequest:
    headers = {"content-type": "application/json", "authorization": basic_authorisation(login)}
    return InboundRequest("POST", URL, CIMultiDict(headers), json.dumps(document).encode())
