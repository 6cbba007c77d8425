"""Access tokens for endpoints that want one (OAuth 2.0, RFC 6749 §4.4: client credentials), fetched through the guarded
client, kept until they expire.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus, urlencode
from uuid import UUID

import orjson

from channels.basic_auth import basic_authorisation
from channels.egress import EgressTimeouts
from channels.errors import DeliveryFault, EgressBlocked, FaultClass, InvalidInput
from handlers.runtime import Clock
from handlers.webhooks.egress import Egress

# A token is fetched within the lease of the delivery that needs it, whose own post may take 25 s.
TIMEOUTS = EgressTimeouts(total=5.0, connect=3.0, lookup=2.0)
MARGIN = timedelta(seconds=30)  # before its end a token is not used any more: a post may be long on its way
KEPT_WITHOUT_WORD = timedelta(
    minutes=5
)  # RFC 6749 §5.1 recommends expires_in, and leaves it out of what is required
LONGEST_KEPT = timedelta(days=1)
# A token that was just fetched for the reason that one was refused, and is refused as well, is fetched anew after this time
# only: a receiver that refuses whatever we show must not make us ask its token server for every delivery.
REFETCH_AFTER = timedelta(minutes=1)
MOST_KEPT = 4096
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """What an endpoint's tenant gave us to ask for tokens with."""

    token_url: str = field(repr=False)
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class TokenKey:
    """Whose token. ``sealed`` changes with the credentials, so no token outlives them."""

    distributor_id: UUID
    endpoint_id: UUID
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    fetched_at: datetime
    expires_at: datetime
    after_refusal: bool = False  # fetched because the one before was refused
    is_refused: bool = False


class TokenStore:
    """Tokens of many endpoints; each is asked for once, however many deliveries wait for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: OrderedDict[TokenKey, _Token] = OrderedDict()
        self._fetching: dict[TokenKey, asyncio.Task[_Token]] = {}

    async def token(self, egress: Egress, key: TokenKey, credentials: ClientCredentials) -> str:
        """A token that is good for the next post.

        Raises DeliveryFault with the class AUTHORISATION where there is none to be had, and LookupsBusy.
        """
        kept = self._tokens.get(key)
        if kept is not None and not kept.is_refused and kept.expires_at > self._clock():
            self._tokens.move_to_end(key)
            return kept.value
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.create_task(self._fetch(egress, key, credentials))
            task.add_done_callback(lambda done: self._fetched(key, done))
        # One request for all who wait; a waiter that leaves must not end it for the others.
        return (await asyncio.shield(task)).value

    def refuse(self, key: TokenKey, token: str) -> None:
        """The endpoint answered 401 to this token: another is fetched for the next post, once."""
        kept = self._tokens.get(key)
        if kept is None or kept.is_refused or kept.value != token:
            return  # it is being replaced, or was
        if kept.after_refusal and self._clock() < kept.fetched_at + REFETCH_AFTER:
            return
        self._tokens[key] = replace(kept, is_refused=True)

    async def _fetch(self, egress: Egress, key: TokenKey, credentials: ClientCredentials) -> _Token:
        value, lifetime = await request_token(egress, credentials, party=str(key.distributor_id))
        now, before = self._clock(), self._tokens.get(key)
        return _Token(value, now, now + lifetime, after_refusal=before is not None and before.is_refused)

    def _fetched(self, key: TokenKey, done: asyncio.Task[_Token]) -> None:
        del self._fetching[key]
        if done.cancelled() or done.exception() is not None:
            return  # whoever waits is told
        self._tokens[key] = done.result()
        self._tokens.move_to_end(key)
        if len(self._tokens) > MOST_KEPT:
            self._tokens.popitem(last=False)


async def request_token(
    egress: Egress, credentials: ClientCredentials, *, party: str
) -> tuple[str, timedelta]:
    """A new access token and how long it may be used.

    Raises DeliveryFault with the class AUTHORISATION where none was given, for whatever reason, and LookupsBusy.
    """
    try:
        answer = await egress.post(
            credentials.token_url, _headers(credentials), _form(credentials), party=party, timeouts=TIMEOUTS
        )
    except (DeliveryFault, EgressBlocked, InvalidInput):
        raise _no_token() from None
    if answer.status != HTTPStatus.OK:
        raise _no_token()
    return _read(answer.body)


def _headers(credentials: ClientCredentials) -> dict[str, str]:
    """RFC 6749 §2.3.1: every server takes the client's password in Basic authorisation, each part form-encoded."""
    login = {
        "username": quote_plus(credentials.client_id),
        "password": quote_plus(credentials.client_secret),
    }
    return {
        "Authorization": basic_authorisation(login),
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }


def _form(credentials: ClientCredentials) -> bytes:
    scope = {"scope": credentials.scope} if credentials.scope else {}
    return urlencode({"grant_type": "client_credentials", **scope}).encode("ascii")


def _read(body: bytes) -> tuple[str, timedelta]:
    """RFC 6749 §5.1. Raises DeliveryFault for any other answer."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _no_token() from None
    answer = answer if isinstance(answer, Mapping) else {}
    token, kind = answer.get("access_token"), answer.get("token_type")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or str(kind).lower() != "bearer":
        raise _no_token()
    return token, _lifetime(answer.get("expires_in"))


def _lifetime(expires_in: Any) -> timedelta:
    """Some servers write the number as a text; what is no number counts as not said."""
    text = str(expires_in)
    if not re.fullmatch(r"[0-9]{1,9}", text):
        return KEPT_WITHOUT_WORD
    said = timedelta(seconds=int(text))
    return min(max(said - MARGIN, said / 2), LONGEST_KEPT)


def _no_token() -> DeliveryFault:
    return DeliveryFault(FaultClass.AUTHORISATION)
