"""`waystation dev`: everything in one process on this machine, with a demo tenant that outlives restarts."""

import shutil
import sys
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import structlog

from channels.base import Channel
from gateway.app import build_app
from gateway.dev.beside import with_stand_ins
from gateway.dev.dev_state import DevState, begin_state, only_one, write_state
from gateway.dev.management import (
    MAIL_ADDRESS,
    META_NUMBER,
    NUMBERS,
    SMS_NUMBER,
    WHATSAPP_NUMBER,
    Management,
    create_account,
    create_endpoint,
    create_mail_account,
    create_meta_account,
    demo_products,
)
from gateway.dev.receiver import Receiver, serve_receiver
from gateway.dev.sandbox import build_sandbox, running_sandbox
from gateway.dev.stand_ins.app import StandIns, running_stand_ins
from gateway.processes import (
    listening_app,
    log_database_event,
    stop_signals,
    with_known_port,
    working,
)
from gateway.services import HOME, Services, open_services
from gateway.settings import Settings
from handlers.runtime import new_uuid7, utc_now
from handlers.tenants import create_tenant

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on
_TENANT = "Abarrotes La Esquina"
_STATUS_PAUSE_SECONDS = 0.5
_log = structlog.get_logger("waystation")


async def dev(settings: Settings, home: Path = HOME) -> None:
    """Runs until a signal; then finishes what was begun and stops PostgreSQL."""
    async with AsyncExitStack() as stack:
        stack.enter_context(only_one(home))
        stop = await stack.enter_async_context(stop_signals())
        settings = with_known_port(settings)
        state = begin_state(home, settings.base_url)
        receiver = await _open_stand_ins(stack, state)
        settings = with_stand_ins(settings, state)
        services = await stack.enter_async_context(open_services(settings, home, on_event=log_database_event))
        await stack.enter_async_context(working(services))
        await stack.enter_async_context(listening_app(build_app(services), settings.host, settings.port))
        state = await _furnish(services, state)
        receiver.set_secrets([state.endpoint_secret])
        write_state(home, state)
        print(welcome(state))
        await stop.wait()
        _log.info("draining")


async def _open_stand_ins(stack: AsyncExitStack, state: DevState) -> Receiver:
    login = state.login
    sandbox = build_sandbox(
        {login.account_sid: login.auth_token}, new_id=new_uuid7, clock=utc_now, pause=_STATUS_PAUSE_SECONDS
    )
    await stack.enter_async_context(running_sandbox(sandbox, port=state.sandbox_port))
    stand_ins = StandIns(new_uuid7, utc_now)
    await stack.enter_async_context(running_stand_ins(stand_ins, port=state.stand_ins_port))
    _, receiver = await stack.enter_async_context(serve_receiver(port=state.receiver_port))
    return receiver


async def _furnish(services: Services, state: DevState) -> DevState:
    """The demo tenant with what it needs; what is there already stays as its user left it."""
    settings = services.settings
    base_url = f"http://{_ANY_HOST.get(settings.host, settings.host)}:{settings.port}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        if not await _is_known(Management(session, base_url, state.api_key)):
            state = await _create_tenant(services, state)
            await Management(session, base_url, state.api_key).import_products(demo_products())
        api = Management(session, base_url, state.api_key)
        await _ensure_accounts(api, state)
        return await _ensure_endpoint(api, state)


async def _is_known(api: Management) -> bool:
    """Whether the key opens a tenant of this database: the database may be another one than last time."""
    status, _ = await api.call("GET", "/v1/tenant")
    return status == HTTPStatus.OK


async def _create_tenant(services: Services, state: DevState) -> DevState:
    created = await create_tenant(
        services.runtime, _TENANT, time_zone="America/Mexico_City", locale="es", currency="MXN"
    )
    fresh = {"distributor_id": created.distributor_id, "api_key": created.api_key}
    return state.model_copy(update={**fresh, "endpoint_id": None, "endpoint_secret": ""})


async def _ensure_accounts(api: Management, state: DevState) -> None:
    accounts = (await api.get("/v1/channel-accounts?limit=200"))["data"]
    known = {(account["channel"], account["address"]) for account in accounts}
    for channel in (Channel.WHATSAPP, Channel.SMS):
        if (channel, NUMBERS[channel]) not in known:
            await create_account(api, channel, state.login)
    if (Channel.WHATSAPP, META_NUMBER) not in known:
        await create_meta_account(api)
    if (Channel.EMAIL, MAIL_ADDRESS) not in known:
        await create_mail_account(api, _TENANT)


async def _ensure_endpoint(api: Management, state: DevState) -> DevState:
    url = f"{state.receiver_url}/hook/dev"
    endpoint = await _find_endpoint(api, state)
    if endpoint is None:
        made = await create_endpoint(api, "dev receiver", url, ["*"])
        return state.model_copy(update={"endpoint_id": UUID(made["id"]), "endpoint_secret": made["secret"]})
    if endpoint["url"] != url:
        await api.patch(f"/v1/webhook-endpoints/{state.endpoint_id}", {"url": url})
    return state


async def _find_endpoint(api: Management, state: DevState) -> Any | None:
    if state.endpoint_id is None:
        return None
    status, endpoint = await api.call("GET", f"/v1/webhook-endpoints/{state.endpoint_id}")
    return endpoint if status == HTTPStatus.OK else None


def welcome(state: DevState) -> str:
    """What is where, and what to try, to be copied as it stands."""
    key = f'-H "Authorization: Bearer {state.api_key}"'
    simulate = f"{_program()} simulate"
    return f"""
Waystation runs on this machine; Ctrl-C ends it.

  gateway    {state.gateway_url}   (the API's page: {state.gateway_url}/docs)
  sandbox    {state.sandbox_url}   (stands in for Twilio)
  stand-ins  {state.stand_ins_url}   (for Meta, SendGrid, Mailgun, Postmark, Resend and SES)
  receiver   {state.receiver_url}   (stands in for your system, verifies the webhooks)
  tenant     {state.distributor_id}
  api key    {state.api_key}

Try, in another terminal and in this folder:

  {simulate} whatsapp --to {WHATSAPP_NUMBER} --from +525555550201 "hola! me mandas 2 cajas de coca 600"
  {simulate} whatsapp --to {WHATSAPP_NUMBER} --from +525555550201 "sí, confirmo"
  {simulate} sms --to {SMS_NUMBER} --from +12025550123 "please send 3 cases of orange soda"
  {simulate} whatsapp --to {META_NUMBER} --from +525555550204 "4 cajas de agua 600, por favor"
  {simulate} email --to {MAIL_ADDRESS} --from rosa@example.com --subject "Pedido" "2 cajas de coca 600, por favor"

  curl -s {key} {state.gateway_url}/v1/orders
  curl -s {key} {state.gateway_url}/v1/conversations
  curl -s {state.sandbox_url}/sandbox/messages
  curl -s {state.stand_ins_url}/sandbox/sendgrid/taken
  curl -s {state.receiver_url}/received
"""


def _program() -> str:
    """How this program was started, so that what is printed can be pasted."""
    if shutil.which("waystation"):
        return "waystation"
    started = Path(sys.argv[0])
    return str(started) if started.name == "waystation" else f"{sys.executable} -m gateway"
