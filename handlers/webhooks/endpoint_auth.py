"""How we authenticate at an endpoint beside signing: a token, a password, an OAuth 2.0 token or a client certificate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, assert_never
from uuid import UUID

from channels.basic_auth import basic_authorisation
from channels.exchanges import ClientCertificate
from db.endpoints import auth_context
from db.sealing import Sealer
from handlers.runtime import Clock
from handlers.webhooks.egress import Egress
from handlers.webhooks.oauth2 import ClientCredentials, TokenKey, TokenStore
from handlers.webhooks.opened import OpenedSeals

AUTHORIZATION = "Authorization"


class AuthType(StrEnum):
    """The ways."""

    BEARER = "bearer"
    BASIC = "basic"
    OAUTH2 = "oauth2"
    MTLS = "mtls"

    @property
    def uses_header(self) -> bool:
        """Whether the Authorization header is ours."""
        return self is not AuthType.MTLS


@dataclass(frozen=True, slots=True)
class Authorisation:
    """What a post carries beside its signature. ``token`` is what an OAuth 2.0 server gave, to be told if it is refused."""

    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    token: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None


NOTHING = Authorisation()


@dataclass(frozen=True, slots=True)
class EndpointAuth:
    """The credentials of an endpoint, opened; ``credentials`` only for OAuth 2.0, ``fixed`` for all else."""

    type: AuthType
    fixed: Authorisation = NOTHING
    credentials: ClientCredentials | None = None


def read_auth(stored: Mapping[str, Any]) -> EndpointAuth:
    """What was sealed, as it is used."""
    kind = AuthType(stored["type"])
    match kind:
        case AuthType.BEARER:
            return EndpointAuth(kind, _header(f"Bearer {stored['token']}"))
        case AuthType.BASIC:
            return EndpointAuth(kind, _header(basic_authorisation(stored)))
        case AuthType.MTLS:
            certificate = ClientCertificate(stored["certificate"], stored["key"])
            return EndpointAuth(kind, Authorisation(certificate=certificate))
        case AuthType.OAUTH2:
            asked = {name: value for name, value in stored.items() if name != "type"}
            return EndpointAuth(kind, credentials=ClientCredentials(**asked))
        case _:
            assert_never(kind)


def _header(value: str) -> Authorisation:
    return Authorisation(MappingProxyType({AUTHORIZATION: value}))


class Authoriser:
    """Opens endpoints' credentials and gets tokens for those that need one; remembers both, in memory only."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._opened = OpenedSeals(sealer, auth_context, read_auth)
        self._tokens = TokenStore(clock)

    async def authorise(
        self, egress: Egress, distributor_id: UUID, endpoint_id: UUID, auth_sealed: bytes | None
    ) -> Authorisation:
        """What the next post to the endpoint carries.

        Raises DeliveryFault with the class AUTHORISATION where a token is not to be had, LookupsBusy, and SealBroken.
        """
        if auth_sealed is None:
            return NOTHING
        auth = self._opened.open(auth_sealed, distributor_id, endpoint_id)
        if auth.credentials is None:
            return auth.fixed
        key = TokenKey(distributor_id, endpoint_id, auth_sealed)
        token = await self._tokens.token(egress, key, auth.credentials)
        return Authorisation(MappingProxyType({AUTHORIZATION: f"Bearer {token}"}), token=token)

    def refuse(
        self, distributor_id: UUID, endpoint_id: UUID, auth_sealed: bytes | None, used: Authorisation
    ) -> None:
        """The endpoint answered 401 to what ``authorise`` gave: a token is replaced, so that the next attempt has another.

        Nothing is posted again here: every post is an attempt on record.
        """
        if auth_sealed is not None and used.token is not None:
            self._tokens.refuse(TokenKey(distributor_id, endpoint_id, auth_sealed), used.token)
