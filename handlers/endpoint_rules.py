"""What must hold of a webhook endpoint as a whole, however it came to be so."""

from enum import StrEnum
from uuid import UUID

from channels.errors import InvalidInput
from db.rows import EndpointRecord
from handlers.endpoint_seals import auth_type, header_names
from handlers.runtime import Runtime
from handlers.webhooks.endpoint_auth import AUTHORIZATION


class Transport(StrEnum):
    """How events get to an integrator: we post, or it fetches."""

    PUSH = "push"
    PULL = "pull"


class Ordering(StrEnum):
    """Whether the events of a conversation wait for one another."""

    NONE = "none"
    CONVERSATION = "conversation"


class PayloadForm(StrEnum):
    """What is posted: the event, or its ids only."""

    FULL = "full"
    THIN = "thin"


class Verification(StrEnum):
    """Whether an endpoint's owner answered a challenge; nothing is sent while that is pending."""

    NONE = "none"
    PENDING = "pending"
    VERIFIED = "verified"


def check_endpoint(runtime: Runtime, distributor_id: UUID, record: EndpointRecord) -> None:
    """Raises InvalidInput for the field that does not go with the others."""
    if record.transport == Transport.PULL:
        _check_pulled(record)
    elif record.url is None:
        raise InvalidInput("An endpoint that is posted to needs a URL.", field="url")
    kind = auth_type(runtime, distributor_id, record)
    names = {name.lower() for name in header_names(runtime, distributor_id, record)}
    if kind is not None and kind.uses_header and AUTHORIZATION.lower() in names:
        raise InvalidInput("With auth the Authorization header is set by the gateway.", field="headers")


def _check_pulled(record: EndpointRecord) -> None:
    """To an endpoint that is pulled nothing is posted: what would be a part of the post is a mistake."""
    for field, given in (
        ("url", record.url),
        ("headers", record.headers_sealed),
        ("auth", record.auth_sealed),
        ("rate_limit_per_second", record.rate_limit_per_second),
    ):
        if given is not None:
            raise InvalidInput("An endpoint that is pulled is not posted to: leave this out.", field=field)
