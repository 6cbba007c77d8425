"""``GET /.well-known/waystation-webhook-keys/{endpoint_id}``: the public keys that verify what an endpoint gets (``v1a``).

Open to anybody: public keys are no secret, and a receiver that verifies has no API key.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from aiohttp import web
from pydantic import Field

from channels.errors import NotFound
from gateway.api.schemas import Answer
from gateway.keys import RUNTIME
from handlers.endpoints import find_public_keys

PATH = "/.well-known/waystation-webhook-keys/{endpoint_id}"
CONTENT_TYPE = "application/jwk-set+json"  # RFC 7517 §8.5.1
_KEPT_SECONDS = 300
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class WebhookKey(Answer):
    """A public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    alg: Literal["EdDSA"]
    use: Literal["sig"]
    kid: str = Field(description="Names the key in the evidence of attempts.")
    x: str = Field(description="The key's 32 bytes, base64url.")


class WebhookKeys(Answer):
    """The keys in force, new first; none where an endpoint is signed with a secret alone."""

    keys: Sequence[WebhookKey]


async def serve_keys(request: web.Request) -> web.Response:
    """The key set; raises NotFound for an id that is unknown, malformed or deleted."""
    text = request.match_info["endpoint_id"]
    if not _UUID.fullmatch(text):
        raise NotFound
    keys = await find_public_keys(request.app[RUNTIME], UUID(text))
    answer = WebhookKeys(keys=[WebhookKey.model_validate(key) for key in keys])
    headers = {"Cache-Control": f"public, max-age={_KEPT_SECONDS}"}
    return web.Response(body=answer.model_dump_json().encode(), content_type=CONTENT_TYPE, headers=headers)


def describe_keys(schema: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    """The operation's page in the OpenAPI document, given the schema of its answer and its 404."""
    path_id = {"type": "string", "format": "uuid"}
    return {
        "operationId": "read_webhook_keys",
        "tags": ["webhook endpoints"],
        "summary": "Read the public keys that verify what an endpoint gets",
        "description": (
            "A JWK Set with the keys in force, new first; needs no API key. Those of `v1a` entries in"
            " `webhook-signature`."
        ),
        "security": [],
        "parameters": [{"name": "endpoint_id", "in": "path", "required": True, "schema": path_id}],
        "responses": {
            "200": {"description": "The keys.", "content": {CONTENT_TYPE: {"schema": schema}}},
            "404": unknown,
            "default": unknown | {"description": "Our own failure: 500, or 503 with `Retry-After`."},
        },
    }
