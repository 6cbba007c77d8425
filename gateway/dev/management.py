"""What a person does over the management API: a shop with its channels, catalogue and webhook."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib import resources
from typing import Any

import aiohttp

from channels.base import Channel
from gateway.dev.stand_ins.sendgrid_posts import new_signing_key

WHATSAPP_NUMBER = "+525555550100"
SMS_NUMBER = "+12025550100"
META_NUMBER = "+525555550101"  # a WhatsApp number over Meta's own API
MAIL_ADDRESS = "pedidos@laesquina.example"
NUMBERS: Mapping[Channel, str] = {Channel.WHATSAPP: WHATSAPP_NUMBER, Channel.SMS: SMS_NUMBER}
_LONGEST_DETAIL = 300


class UnexpectedAnswer(Exception):
    """The management API answered with another status than the caller counts on."""


@dataclass(frozen=True, slots=True)
class ProviderLogin:
    """A Twilio account: what the sandbox knows and a channel account is made with."""

    account_sid: str
    auth_token: str = field(repr=False)

    def as_credentials(self) -> dict[str, str]:
        return {"account_sid": self.account_sid, "auth_token": self.auth_token}


class Management:
    """The management API with a tenant's key; answers are taken as they come."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, api_key: str) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {api_key}"}

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer; raises aiohttp.ClientError where there is none."""
        request = self._session.request(method, self._base_url + path, json=body, headers=self._headers)
        async with request as response:
            raw = await response.read()
            return response.status, json.loads(raw) if raw else None

    async def get(self, path: str) -> Any:
        """The answer of a reading call; raises UnexpectedAnswer unless it is 200."""
        return await self._expect(HTTPStatus.OK, "GET", path)

    async def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """The new resource; raises UnexpectedAnswer unless it was made."""
        return await self._expect(HTTPStatus.CREATED, "POST", path, body)

    async def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """The changed resource; raises UnexpectedAnswer unless it was changed."""
        return await self._expect(HTTPStatus.OK, "PATCH", path, body)

    async def import_products(self, products: list[Any]) -> Any:
        """What the import did; raises UnexpectedAnswer unless it was taken."""
        return await self._expect(HTTPStatus.OK, "POST", "/v1/products/import", {"products": products})

    async def _expect(self, wanted: HTTPStatus, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.call(method, path, body)
        if status != wanted:
            raise UnexpectedAnswer(f"{method} {path}: {status} {str(answer)[:_LONGEST_DETAIL]}")
        return answer


def demo_products() -> list[Any]:
    """The small invented catalogue that the demo and `waystation dev` begin with."""
    text = resources.files("gateway.dev").joinpath("catalogue.json").read_text(encoding="utf-8")
    products: list[Any] = json.loads(text)
    return products


async def create_account(api: Management, channel: Channel, login: ProviderLogin) -> Any:
    """A Twilio account of that channel under the demo's number for it."""
    body = {"channel": channel, "provider": "twilio", "address": NUMBERS[channel]}
    return await api.create("/v1/channel-accounts", {**body, "credentials": login.as_credentials()})


async def create_mail_account(api: Management, shop: str) -> Any:
    """A SendGrid account whose hook has a login, made up like its key: the stand-in takes any."""
    credentials = {
        "api_key": f"SG.{secrets.token_urlsafe(16)}",
        "event_public_key": new_signing_key()[1],
        "inbound_basic_auth": {"username": "sendgrid", "password": secrets.token_urlsafe(16)},
    }
    body = {"channel": Channel.EMAIL, "provider": "sendgrid", "address": MAIL_ADDRESS}
    settings = {"sender_name": shop}
    return await api.create(
        "/v1/channel-accounts", {**body, "credentials": credentials, "settings": settings}
    )


async def create_meta_account(api: Management) -> Any:
    """A WhatsApp number over Meta's Cloud API, its secrets made up: the stand-in takes any."""
    credentials = {
        "phone_number_id": "106540352242922",
        "waba_id": "102290129340398",
        "app_secret": secrets.token_hex(16),
        "access_token": f"EAA{secrets.token_hex(16)}",
        "verify_token": secrets.token_hex(8),
    }
    body = {"channel": Channel.WHATSAPP, "provider": "whatsapp_cloud", "address": META_NUMBER}
    return await api.create("/v1/channel-accounts", {**body, "credentials": credentials})


async def create_endpoint(api: Management, name: str, url: str, event_types: list[str]) -> Any:
    """A webhook endpoint with its secret."""
    return await api.create("/v1/webhook-endpoints", {"name": name, "url": url, "event_types": event_types})
