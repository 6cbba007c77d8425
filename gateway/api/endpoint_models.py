"""Webhook endpoints as they are asked for and answered."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, StringConstraints

from gateway.api.schemas import Answer, Body, JsonObject, Line, Patch, absent, no_boolean
from handlers.endpoint_rules import Ordering, PayloadForm, Transport, Verification
from handlers.webhooks.endpoint_auth import AuthType
from handlers.webhooks.event_types import EventType
from handlers.webhooks.payloads import Number
from handlers.webhooks.signing import Signing

_LONGEST_CREDENTIAL = 4096
_LONGEST_PEM = 32_768
_LONGEST_OVERLAP = 7 * 24 * 3600  # seconds
_DAY = 24 * 3600

EventTypes = Annotated[list[Line], Field(min_length=1, max_length=100)]
Headers = Annotated[
    dict[str, str], Field(description="Added to every delivery; write-only.", max_length=20, repr=False)
]
RateLimit = Annotated[
    Decimal,
    Field(gt=0, le=10_000, max_digits=8, decimal_places=3),
    BeforeValidator(no_boolean),
]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1_000)]
# What travels in a header: printable ASCII. Of RFC 6749 (appendix A), RFC 6750 §2.1 and RFC 7617 §2.
Token = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=_LONGEST_CREDENTIAL)]
ClientText = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]+$", max_length=_LONGEST_CREDENTIAL)]
Username = Annotated[str, StringConstraints(pattern=r"^[^:\x00-\x1f\x7f]*$", max_length=1_000)]
Password = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=1_000)]
Scope = Annotated[
    str,
    StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*$", max_length=1_000),
]
Pem = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_PEM)]
Url = Annotated[str, Field(max_length=2048, examples=["https://erp.example.com/hooks/waystation"])]


class BearerAuth(Body):
    """A fixed token in the Authorization header."""

    type: Literal["bearer"]
    token: Token = Field(repr=False)


class BasicAuth(Body):
    """A name and a password (RFC 7617)."""

    type: Literal["basic"]
    username: Username = Field(repr=False)
    password: Password = Field(repr=False)


class OAuth2Auth(Body):
    """A token that we fetch with client credentials (RFC 6749 §4.4) and keep until it expires."""

    type: Literal["oauth2"]
    token_url: Url = Field(repr=False)
    client_id: ClientText = Field(repr=False)
    client_secret: ClientText = Field(repr=False)
    scope: Scope | None = None


class MtlsAuth(Body):
    """A client certificate, with those that it was issued by, and its private key without a passphrase, both PEM."""

    type: Literal["mtls"]
    certificate: Pem = Field(repr=False)
    key: Pem = Field(repr=False)


Auth = Annotated[BearerAuth | BasicAuth | OAuth2Auth | MtlsAuth, Field(discriminator="type")]

_FILTER = (
    'Over the event\'s body, such as `{"data.total_amount": {"$gte": 100}}`; null or {} takes every event.'
)
_ORDERING = (
    "conversation: the events of one conversation one after the other, a failed one holds back the next."
)
_TRANSPORT = "push: we post to `url`; pull: you fetch, `url` stays out. Cannot be changed."
_PAYLOAD = "thin: type and ids only, to be read over the API."
_SIGNING = "hmac: `v1` with the secret; ed25519: `v1a` with a key pair; both: one after the other."
_RATE = "The most posts a second; null: as many as it takes."
_IN_FLIGHT = "The most posts under way at once; 1: one after the other."
_AUTH = "How we authenticate beside signing; write-only. null: not at all."


class Endpoint(Answer):
    """A webhook endpoint, without its secret, its credentials and the values of its headers."""

    id: UUID
    name: str
    description: str
    transport: Transport
    url: str | None = Field(description="null where it is pulled.")
    event_types: Sequence[str]
    filter: Mapping[str, Any] | None
    payload: PayloadForm
    header_names: Sequence[str]
    auth_type: AuthType | None
    signing: Signing
    public_key: str | None = Field(
        description="Of the key pair that signs (`whpk_…`); null where none does. Those that overlap are at"
        " `/.well-known/waystation-webhook-keys/{id}`."
    )
    ordering: Ordering
    rate_limit_per_second: Number | None
    max_in_flight: int
    verification: Verification
    enabled: bool
    disabled_reason: str | None
    disabled_at: datetime | None
    created_at: datetime
    updated_at: datetime


class EndpointWithSecret(Endpoint):
    """An endpoint with its new secret, shown this once."""

    secret: str | None = Field(
        description="Standard Webhooks' `whsec_…`; never shown again. null where a key pair alone signs."
    )


class EnabledEndpoint(Endpoint):
    """An endpoint that gets events again, and what it missed."""

    missed: int = Field(description="Events that match it and were never tried since it was disabled.")
    missed_is_minimum: bool = Field(description="There were too many to count.")
    missed_since: datetime | None = Field(
        description="When the oldest of them can have happened: for a replay's `since`. Null: it was not disabled."
    )
    replay_id: UUID | None = Field(description="The replay that sends them, where that was asked for.")


class EndpointEnable(Body):
    """What is to become of missed events."""

    replay: Literal["missing"] | None = Field(
        default=None, description="missing: send at once what it missed while it was disabled."
    )


class EndpointCreate(Body):
    """A webhook endpoint to be made."""

    name: Line = Field(examples=["erp"])
    description: Description = ""
    transport: Transport = Field(default=Transport.PUSH, description=_TRANSPORT)
    url: Url | None = None
    event_types: EventTypes = Field(description="Types, `family.*` or `*`.", examples=[["order.*"]])
    filter: JsonObject | None = Field(default=None, description=_FILTER)
    payload: PayloadForm = Field(default=PayloadForm.FULL, description=_PAYLOAD)
    headers: Headers = Field(default_factory=dict)
    auth: Auth | None = Field(default=None, description=_AUTH)
    signing: Signing = Field(default=Signing.HMAC, description=_SIGNING)
    ordering: Ordering = Field(default=Ordering.NONE, description=_ORDERING)
    rate_limit_per_second: RateLimit | None = Field(default=None, description=_RATE)
    max_in_flight: int = Field(default=10, ge=1, le=10, description=_IN_FLIGHT)
    verify: bool = Field(
        default=False,
        description="Nothing is sent before the endpoint has answered the challenge of `/verify`.",
    )


class EndpointPatch(Patch):
    """What may change of an endpoint; custom headers and `auth` are replaced as a whole."""

    name: Line = absent()
    description: Description = absent()
    url: Url = absent()
    event_types: EventTypes = absent()
    filter: JsonObject | None = Field(default=None, description=_FILTER)
    payload: PayloadForm = absent(description=_PAYLOAD)
    headers: Headers = absent()
    auth: Auth | None = Field(default=None, description=_AUTH)
    signing: Signing = absent(description=_SIGNING)
    ordering: Ordering = absent(description=_ORDERING)
    rate_limit_per_second: RateLimit | None = Field(default=None, description=_RATE)
    max_in_flight: int = absent(ge=1, le=10, description=_IN_FLIGHT)


class EndpointTry(Body):
    """What a test event is to hold."""

    event_type: EventType | None = Field(
        default=None,
        description="Puts an example of this type into the test event.",
        examples=["order.created"],
    )


class SecretRotation(Body):
    """How the secrets of an endpoint are replaced."""

    overlap_seconds: int = Field(
        default=_DAY,
        ge=0,
        le=_LONGEST_OVERLAP,
        description="For how long those before still sign beside the new ones; 0: not at all.",
    )
    signing: Signing | None = Field(
        default=None, description="What to sign with from now on; null: as before."
    )
