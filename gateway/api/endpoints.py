"""``/v1/webhook-endpoints``: where an integrator wants events posted."""

import secrets
from datetime import timedelta
from functools import partial
from http import HTTPMethod, HTTPStatus
from typing import Any

from channels.errors import NotFound, WrongState
from channels.exchanges import ClientCertificate
from db import endpoints as rows_of
from db.rows import EndpointRecord
from gateway.api.deliveries import Delivery, load_delivery
from gateway.api.endpoint_models import (
    Auth,
    EnabledEndpoint,
    Endpoint,
    EndpointCreate,
    EndpointEnable,
    EndpointPatch,
    EndpointTry,
    EndpointWithSecret,
    MtlsAuth,
    OAuth2Auth,
    SecretRotation,
)
from gateway.api.operations import Call, Operation
from gateway.api.paging import BY_ID, make_page, read_position
from gateway.api.schemas import NoQuery, Page, PageQuery
from handlers import endpoints
from handlers.endpoint_rules import Ordering, PayloadForm, Transport, Verification
from handlers.endpoint_seals import auth_type, header_names
from handlers.endpoints import CheckedUrl, EndpointDraft
from handlers.webhooks.challenge import ask_owner
from handlers.webhooks.enabling import enable_and_count
from handlers.webhooks.public_keys import current_public_key
from handlers.webhooks.signing import Signing

_PATH = "/v1/webhook-endpoints"
_ONE = f"{_PATH}/{{id}}"
_TAG = "webhook endpoints"
_CHALLENGE_BYTES = 32


async def check_targets(call: Call[EndpointCreate | EndpointPatch, NoQuery]) -> CheckedUrl | None:
    """The checked URL of a body, if it names one; its token server or client certificate is checked, too."""
    check = partial(call.egress.check_url, party=str(call.distributor_id))
    auth = call.body.auth
    if isinstance(auth, OAuth2Auth):
        await endpoints.check_endpoint_url(check, auth.token_url, "auth.token_url")
    if isinstance(auth, MtlsAuth):
        endpoints.check_certificate(ClientCertificate(auth.certificate, auth.key), call.runtime.clock())
    return None if call.body.url is None else await endpoints.check_endpoint_url(check, call.body.url)


async def list_endpoints(call: Call[None, PageQuery]) -> Page[Endpoint]:
    (before,) = read_position(call, BY_ID)
    async with call.transaction() as connection:
        rows = await rows_of.list_endpoints(connection, before, call.query.limit + 1)
    return make_page(call, BY_ID, rows, (_endpoint(call, row) for row in rows), Page[Endpoint])


async def create_endpoint(call: Call[EndpointCreate, NoQuery]) -> EndpointWithSecret:
    body = call.body
    draft = EndpointDraft(
        name=body.name,
        description=body.description,
        transport=body.transport,
        url=call.prepared,
        event_types=body.event_types,
        filter=body.filter,
        payload=body.payload,
        headers=body.headers,
        auth=_stored_auth(body.auth),
        signing=body.signing,
        ordering=body.ordering,
        rate_limit_per_second=body.rate_limit_per_second,
        max_in_flight=body.max_in_flight,
        verify=body.verify,
    )
    return _with_secret(call, await endpoints.create_endpoint(call.runtime, call.distributor_id, draft))


async def read_endpoint(call: Call[None, NoQuery]) -> Endpoint:
    async with call.transaction() as connection:
        record = await rows_of.read_endpoint(connection, call.id)
    if record is None:
        raise NotFound
    return _endpoint(call, record)


async def update_endpoint(call: Call[EndpointPatch, NoQuery]) -> Endpoint:
    changes = call.body.changes()
    if "auth" in changes:
        changes["auth"] = _stored_auth(call.body.auth)
    if call.prepared is not None:
        changes["url"] = call.prepared
    return _endpoint(
        call, await endpoints.patch_endpoint(call.runtime, call.distributor_id, call.id, changes)
    )


async def delete_endpoint(call: Call[None, NoQuery]) -> None:
    await endpoints.delete_endpoint(call.runtime, call.distributor_id, call.id)


async def test_endpoint(call: Call[EndpointTry, NoQuery]) -> Delivery:
    async with call.transaction() as connection:
        one = call.joined(connection)  # read before a worker can have it
        delivery_id = await endpoints.send_test(
            one.runtime, call.distributor_id, call.id, call.body.event_type
        )
        return await load_delivery(one, delivery_id)


async def rotate_endpoint_secret(call: Call[SecretRotation, NoQuery]) -> EndpointWithSecret:
    overlap = timedelta(seconds=call.body.overlap_seconds)
    made = await endpoints.rotate_secret(
        call.runtime, call.distributor_id, call.id, overlap, call.body.signing
    )
    return _with_secret(call, made)


async def ask_endpoint_owner(call: Call[None, NoQuery]) -> EndpointRecord:
    """The endpoint that answered a challenge."""
    async with call.transaction() as connection:
        record = await rows_of.read_endpoint(connection, call.id)
    if record is None:
        raise NotFound
    if record.url is None:
        raise WrongState("An endpoint that is pulled has nobody to ask.")
    challenge = secrets.token_urlsafe(_CHALLENGE_BYTES)
    await ask_owner(call.runtime, call.egress, call.distributor_id, record, challenge)
    return record


async def verify_endpoint(call: Call[None, NoQuery]) -> Endpoint:
    return _endpoint(call, await endpoints.mark_verified(call.runtime, call.distributor_id, call.prepared))


async def enable_endpoint(call: Call[EndpointEnable, NoQuery]) -> EnabledEndpoint:
    async with call.transaction() as connection:
        one = call.joined(connection)
        enabled = await enable_and_count(
            one.runtime, connection, call.distributor_id, call.id, replays=call.body.replay is not None
        )
    return EnabledEndpoint(
        **_endpoint(call, enabled.record).model_dump(),
        missed=enabled.missed.matched,
        missed_is_minimum=not enabled.missed.counted_all,
        missed_since=enabled.since,
        replay_id=enabled.replay_id,
    )


async def disable_endpoint(call: Call[None, NoQuery]) -> Endpoint:
    return _endpoint(call, await endpoints.disable_endpoint(call.runtime, call.distributor_id, call.id))


def _stored_auth(auth: Auth | None) -> dict[str, Any] | None:
    return None if auth is None else auth.model_dump(exclude_none=True)


def _endpoint(call: Call[Any, Any], record: EndpointRecord) -> Endpoint:
    return Endpoint(
        id=record.id,
        name=record.name,
        description=record.description,
        transport=Transport(record.transport),
        url=record.url,
        event_types=record.event_types,
        filter=record.filter,
        payload=PayloadForm(record.payload),
        header_names=header_names(call.runtime, call.distributor_id, record),
        auth_type=auth_type(call.runtime, call.distributor_id, record),
        signing=Signing(record.signing),
        public_key=current_public_key(record.public_keys),
        ordering=Ordering(record.ordering),
        rate_limit_per_second=record.rate_limit_per_second,
        max_in_flight=record.max_in_flight,
        verification=Verification(record.verification),
        enabled=record.enabled,
        disabled_reason=record.disabled_reason,
        disabled_at=record.disabled_at,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def _with_secret(call: Call[Any, Any], made: endpoints.EndpointWithSecret) -> EndpointWithSecret:
    return EndpointWithSecret(**_endpoint(call, made.record).model_dump(), secret=made.secret)


def _action(name: str, summary: str, **more: Any) -> Operation:
    return Operation(method=HTTPMethod.POST, path=f"{_ONE}/{name}", tag=_TAG, summary=summary, **more)


OPERATIONS = (
    Operation(
        method=HTTPMethod.GET,
        path=_PATH,
        tag=_TAG,
        summary="List webhook endpoints",
        handle=list_endpoints,
        query=PageQuery,
        response=Page[Endpoint],
    ),
    Operation(
        method=HTTPMethod.POST,
        path=_PATH,
        tag=_TAG,
        summary="Create a webhook endpoint; its secret is shown once",
        handle=create_endpoint,
        prepare=check_targets,
        body=EndpointCreate,
        response=EndpointWithSecret,
        status=HTTPStatus.CREATED,
    ),
    Operation(
        method=HTTPMethod.GET,
        path=_ONE,
        tag=_TAG,
        summary="Read a webhook endpoint",
        handle=read_endpoint,
        response=Endpoint,
    ),
    Operation(
        method=HTTPMethod.PATCH,
        path=_ONE,
        tag=_TAG,
        summary="Change a webhook endpoint",
        handle=update_endpoint,
        prepare=check_targets,
        body=EndpointPatch,
        response=Endpoint,
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path=_ONE,
        tag=_TAG,
        summary="Delete a webhook endpoint; what waits for it is cancelled",
        handle=delete_endpoint,
        status=HTTPStatus.NO_CONTENT,
    ),
    _action(
        "test",
        "Send a test event to the endpoint, whatever it subscribes to",
        description=(
            "Its type is always `endpoint.test`, so that nobody takes a test for an order. With `event_type`, `data.example`"
            " holds the body of an invented event of that type."
        ),
        handle=test_endpoint,
        body=EndpointTry,
        body_required=False,
        response=Delivery,
        status=HTTPStatus.ACCEPTED,
        errors=(HTTPStatus.CONFLICT,),
    ),
    _action(
        "rotate-secret",
        "Make new secrets; those before still sign for 24 hours, or as long as asked",
        handle=rotate_endpoint_secret,
        body=SecretRotation,
        body_required=False,
        response=EndpointWithSecret,
    ),
    _action(
        "verify",
        "Ask the endpoint's owner with a challenge",
        description=(
            'Posts `{"type": "endpoint.challenge", "challenge": "…"}`, signed. The endpoint is verified if it answers 2xx'
            " with the challenge as text, or as `challenge` of a JSON object; one that was made with `verify` is"
            " enabled then. Else 409 `challenge_failed`, and nothing changes."
        ),
        prepare=ask_endpoint_owner,
        handle=verify_endpoint,
        response=Endpoint,
    ),
    _action(
        "enable",
        "Enable the endpoint; it gets events from now on, and on demand those that it missed",
        handle=enable_endpoint,
        body=EndpointEnable,
        body_required=False,
        response=EnabledEndpoint,
    ),
    _action(
        "disable",
        "Disable the endpoint; what waits for it is cancelled",
        handle=disable_endpoint,
        response=Endpoint,
    ),
)
