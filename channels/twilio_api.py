"""Twilio's REST API: its hosts, its message resources as values, and what Twilio's own client does not know of it.

Source: Twilio docs, "Typing Indicators resource" (v3).
"""

import json
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp
from yarl import URL

from channels.base import ChannelAccount, SendReceipt
from channels.provider_api import ProviderApi
from channels.twilio_errors import error_of_answer

TWILIO_API = "https://api.twilio.com"
MESSAGING_API = "https://messaging.twilio.com"  # Twilio has a host per product, a stand-in has one for all
TWILIO_DOMAIN = ".twilio.com"
API_VERSION = "2010-04-01"


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message resource, in or out; ``created`` is aware UTC."""

    sid: str
    status: str
    direction: str
    to: str
    sender: str
    body: str = field(repr=False)
    service: str | None
    created: datetime
    num_media: int
    num_segments: str

    def receipt(self) -> SendReceipt:
        return SendReceipt(self.sid, self.status)


class TwilioApi:
    """Exchanges under the operator's base URL, one by one; nothing is repeated here."""

    def __init__(self, api: ProviderApi, base_url: str) -> None:
        self._api = api
        self._base_url = base_url.rstrip("/")

    async def show_typing(self, account: ChannelAccount, message_sid: str) -> None:
        """Shows the writer of that WhatsApp message that it is read and answered. Raises Temporary or Permanent."""
        base = MESSAGING_API if self._base_url == TWILIO_API else self._base_url
        answer = await self._api.exchange(
            "POST",
            f"{base}/v3/Indicators/Typing.json",
            headers={**_authorised(account), "Content-Type": "application/json"},
            body=json.dumps({"channel": "WHATSAPP", "messageId": message_sid}).encode(),
        )
        if not answer.ok:
            raise error_of_answer(answer, creates=False)

    def authorisation_for(self, account: ChannelAccount, url: str) -> dict[str, str]:
        """The headers for a file's address; credentials for Twilio's own addresses only."""
        own = URL(self._base_url)
        asked = URL(url)
        is_twilio = asked.scheme == "https" and (asked.host or "").endswith(TWILIO_DOMAIN)
        return _authorised(account) if is_twilio or asked.origin() == own.origin() else {}


def _authorised(account: ChannelAccount) -> dict[str, str]:
    credentials = account.credentials
    return {
        "Authorization": aiohttp.encode_basic_auth(credentials["account_sid"], credentials["auth_token"]),
        "Accept": "application/json",
    }
