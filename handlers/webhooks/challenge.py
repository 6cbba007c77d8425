"""Whether the owner of an endpoint wants what we would post to it: it is asked with a challenge, and has to say it back.

Optional: hooks that are made by a tool (Zapier's, for one) cannot answer. The challenge is signed like every post, and no
event: it is neither stored nor tried again.
"""

import hmac
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson

from channels.errors import ChallengeFailed, DeliveryFault, EgressBlocked, InvalidInput
from db.rows import EndpointRecord
from handlers.endpoint_seals import open_headers, open_secrets
from handlers.runtime import Runtime
from handlers.webhooks.egress import Egress, EgressAnswer
from handlers.webhooks.endpoint_auth import Authoriser
from handlers.webhooks.headers import request_headers
from handlers.webhooks.signing import active_keys, signing_key

TYPE = "endpoint.challenge"


async def ask_owner(
    runtime: Runtime, egress: Egress, distributor_id: UUID, endpoint: EndpointRecord, challenge: str
) -> None:
    """Posts ``challenge``, which nobody can guess, and returns if the answer repeats it: as text, or as the ``challenge``
    of a JSON object. Waits for others, so never inside a transaction.

    Raises ChallengeFailed, and LookupsBusy.
    """
    try:
        answer = await _post(runtime, egress, distributor_id, endpoint, challenge)
    except (DeliveryFault, EgressBlocked) as fault:
        raise ChallengeFailed(f"The challenge could not be posted: {fault.error_class}.") from None
    except InvalidInput:
        raise ChallengeFailed("The challenge could not be posted: configuration.") from None
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise ChallengeFailed(f"The endpoint answered the challenge with status {answer.status}.")
    if not _repeats(answer.body, challenge):
        raise ChallengeFailed("The endpoint's answer does not repeat the challenge.")


async def _post(
    runtime: Runtime, egress: Egress, distributor_id: UUID, endpoint: EndpointRecord, challenge: str
) -> EgressAnswer:
    authoriser = Authoriser(runtime.sealer, runtime.clock)
    authorisation = await authoriser.authorise(egress, distributor_id, endpoint.id, endpoint.auth_sealed)
    body, now = orjson.dumps({"type": TYPE, "challenge": challenge}), runtime.clock()
    headers = request_headers(
        f"chl_{runtime.new_id().hex}",
        body,
        now,
        keys=active_keys(map(signing_key, open_secrets(runtime, distributor_id, endpoint)), now),
        custom=open_headers(runtime, distributor_id, endpoint),
        authorisation=authorisation,
    )
    return await egress.post(
        endpoint.url or "", headers, body, party=str(distributor_id), certificate=authorisation.certificate
    )


def _repeats(body: bytes, challenge: str) -> bool:
    said = _challenge_in(body)
    return hmac.compare_digest(body.strip(), challenge.encode()) or hmac.compare_digest(
        said.encode(), challenge.encode()
    )


def _challenge_in(body: bytes) -> str:
    """The ``challenge`` of a JSON object; empty for anything else."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    said = value.get("challenge") if isinstance(value, dict) else None
    return said if isinstance(said, str) else ""
