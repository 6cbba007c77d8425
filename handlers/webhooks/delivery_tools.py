"""What deliveries need beside the runtime; made once for a worker, since it remembers what was opened."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.endpoints import headers_context, secrets_context
from handlers.runtime import Runtime
from handlers.webhooks.egress import Egress
from handlers.webhooks.endpoint_auth import Authoriser
from handlers.webhooks.opened import OpenedSeals
from handlers.webhooks.signing import SigningKey, load_keys


@dataclass(frozen=True, slots=True)
class DeliveryTools:
    """The guarded client, and what endpoints have sealed: signing keys, custom headers, credentials."""

    egress: Egress
    keys: OpenedSeals[tuple[SigningKey, ...]]
    headers: OpenedSeals[Mapping[str, str]]
    authoriser: Authoriser


def delivery_tools(runtime: Runtime, egress: Egress) -> DeliveryTools:
    """Tools that remember nothing yet."""
    return DeliveryTools(
        egress=egress,
        keys=OpenedSeals(runtime.sealer, secrets_context, load_keys),
        headers=OpenedSeals(runtime.sealer, headers_context, dict),
        authoriser=Authoriser(runtime.sealer, runtime.clock),
    )
