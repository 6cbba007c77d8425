"""An SES account and its posts, for the tests of its adapter."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundRequest

FIXTURES = Path("tests/fixtures/channels/ses")
TOPIC = "arn:aws:sns:eu-west-1:111122223333:mail"
CREDENTIALS = {
    "topic_arns": [TOPIC],
    "region": "eu-west-1",
    "access_key_id": "AKIAEXAMPLEEXAMPLE00",
    "secret_access_key": "secret/ses+example",
}
OUR_MESSAGE = UUID("01934f5c-7b1e-7000-8000-00000000abcd")
URL = "https://gw.example.test/in/ses/acc"


def fixture(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return found


def account(**credentials: Any) -> ChannelAccount:
    return ChannelAccount(
        id=UUID(int=1),
        distributor_id=UUID(int=2),
        channel=Channel.EMAIL,
        provider="ses",
        address="pedidos@bodega.example",
        credentials={**CREDENTIALS, **credentials},
        settings={"sender_name": "Bodega"},
    )


def post(document: Any) -> InboundRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return InboundRequest("POST", URL, CIMultiDict({"Content-Type": "text/plain; charset=UTF-8"}), body)
