"""`waystation simulate`: what the provider would post, signed with the account's secret, to the running gateway."""

import base64
import mimetypes
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from multidict import CIMultiDict

from channels.addresses import normalise
from channels.base import Channel, ChannelAccount, InboundMessage, InboundRequest
from channels.errors import InvalidInput, UnknownAccount
from channels.mail_tokens import without_token
from db.accounts import AccountRow, list_accounts_at
from db.embedded_cluster import has_cluster
from db.inbox import find_accepted
from gateway.accounts import AccountDirectory
from gateway.dev.dev_state import DevState, NotPossibleHere, read_state
from gateway.dev.sandbox_calls import Caller
from gateway.dev.sandbox_inbound import InboundOrder, receive
from gateway.dev.sandbox_state import SandboxState
from gateway.dev.simulated_posts import Written, make_post
from gateway.dev.stand_ins.mail_posts import MailFile, SignedPost
from gateway.services import EMBEDDED, HOME, Services, open_services
from gateway.settings import Settings
from handlers.media import LARGEST_FILE
from handlers.runtime import new_uuid7, utc_now

_PROVIDER = "twilio"
_LARGEST_FILE = 700_000  # bytes; the sandbox takes a megabyte of JSON, and base64 adds a third
_LARGEST_OF_A_MAIL = LARGEST_FILE  # a mail goes to the gateway itself, which keeps no larger one
_CALL_SECONDS = 20.0
_NO_GATEWAY = "No gateway answers at {url}; start one with `waystation dev` or `waystation serve`."
_NO_SANDBOX = "A file needs the provider sandbox, which serves it: start `waystation dev` in this folder."
_NO_DATABASE = "This folder has no database of a gateway; go to its folder, or set WAYSTATION_DATABASE_URL."


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message to be made up."""

    channel: Channel
    recipient: str
    sender: str
    text: str
    media: Path | None = None
    distributor_id: UUID | None = None
    subject: str = ""
    reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """What the gateway answered (status 0: nothing) and what became of the message, if it was stored."""

    url: str
    status: int
    answer: str
    provider_id: str
    message_id: UUID | None
    conversation_id: UUID | None

    @property
    def accepted(self) -> bool:
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


async def simulate(settings: Settings, wanted: Wanted, home: Path = HOME) -> Simulated:
    """Posts the message. Raises GatewayError, SettingsError or DatabaseError."""
    if settings.database_url is None and not has_cluster(home / EMBEDDED):
        raise NotPossibleHere(_NO_DATABASE)
    recipient = normalise(wanted.channel, wanted.recipient)
    sender = normalise(wanted.channel, wanted.sender)
    state = read_state(home)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS)) as session:
        base_url = await _find_gateway(session, settings, state)
        async with open_services(settings, home) as services:
            account = await _find_account(services, wanted, recipient, state)
            url = f"{base_url}/in/{account.provider}/{account.id}"
            if account.provider != _PROVIDER:
                message = await _written(session, state, account, wanted, sender, recipient)
                answer = await _post_signed(session, services, account, url, make_post(account, message))
                return await _outcome(services, account, url, answer)
            order = _order(account, wanted, sender, url)
            if wanted.media is None:
                answer = await _post(session, account, order)
            else:
                answer = await _post_by_sandbox(session, state, order, wanted.media)
            return await _outcome(services, account, url, answer)


async def _find_gateway(session: aiohttp.ClientSession, settings: Settings, state: DevState | None) -> str:
    """The URL of this folder's `waystation dev` if it runs, else of the configured gateway; raises NotPossibleHere
    for none. Another gateway may listen at the default address, and it would not know this folder's accounts.
    """
    candidates = [*([state.gateway_url] if state else []), settings.base_url]
    for url in candidates:
        if await _is_alive(session, url):
            return url
    raise NotPossibleHere(_NO_GATEWAY.format(url=settings.base_url))


async def _is_alive(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/live") as response:
            return response.status == HTTPStatus.OK and await response.json() == {"status": "ok"}
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return False


async def _find_account(
    services: Services, wanted: Wanted, recipient: str, state: DevState | None
) -> ChannelAccount:
    async with services.runtime.database.worker_statements() as connection:
        rows = await list_accounts_at(connection, wanted.channel, without_token(recipient))
    row = _the_one(
        rows, wanted.distributor_id, state, f"{wanted.channel} account with the address {recipient}"
    )
    account = await AccountDirectory(services.runtime).find(row.id)
    if account is None:
        raise UnknownAccount(f"The account of {recipient} is gone.")
    return account


def _the_one(
    rows: Sequence[AccountRow], distributor_id: UUID | None, state: DevState | None, what: str
) -> AccountRow:
    """The account that is meant; where tenants share the address, that of `waystation dev` goes first."""
    if distributor_id is not None:
        rows = [row for row in rows if row.distributor_id == distributor_id]
    if not rows:
        raise UnknownAccount(f"There is no {what}.")
    preferred = [row for row in rows if state and row.distributor_id == state.distributor_id]
    if len(rows) > 1 and not preferred:
        tenants = ", ".join(str(row.distributor_id) for row in rows)
        raise InvalidInput(
            f"Several tenants have a {what}; give --distributor, one of: {tenants}", field="distributor"
        )
    return (preferred or list(rows))[0]


def _order(account: ChannelAccount, wanted: Wanted, sender: str, url: str) -> InboundOrder:
    return InboundOrder(
        url=url,
        account_sid=account.credentials["account_sid"],
        sender=_party(wanted.channel, sender),
        recipient=_party(wanted.channel, account.address),
        body=wanted.text,
        fields={"OriginalRepliedMessageSid": wanted.reply_to} if wanted.reply_to else {},
    )


def _party(channel: Channel, address: str) -> str:
    return f"whatsapp:{address}" if channel is Channel.WHATSAPP else address


async def _post(
    session: aiohttp.ClientSession, account: ChannelAccount, order: InboundOrder
) -> dict[str, Any]:
    """Makes the form and posts it just as the sandbox does, with the account's own token."""
    accounts = {order.account_sid: account.credentials["auth_token"]}
    state = SandboxState(accounts, new_id=new_uuid7, clock=utc_now)
    return await receive(state, Caller(state, session, pause=0), order, origin="")


async def _post_by_sandbox(
    session: aiohttp.ClientSession, state: DevState | None, order: InboundOrder, media: Path
) -> dict[str, Any]:
    """Lets the sandbox of `waystation dev` post the message, since it must serve the file afterwards."""
    if state is None or state.account_sid != order.account_sid:
        raise NotPossibleHere(_NO_SANDBOX)
    asked = {
        "url": order.url,
        "account_sid": order.account_sid,
        "from": order.sender,
        "to": order.recipient,
        "body": order.body,
        "media": [_file(media)],
    }
    try:
        async with session.post(f"{state.sandbox_url}/sandbox/inbound", json=asked) as response:
            if response.status != HTTPStatus.OK:
                raise NotPossibleHere(f"The sandbox refused the message: {await response.text()}")
            answer: dict[str, Any] = await response.json()
    except (aiohttp.ClientConnectionError, TimeoutError):
        raise NotPossibleHere(_NO_SANDBOX) from None
    return answer


def _file(path: Path) -> dict[str, str]:
    file = _read(path, _LARGEST_FILE)
    content = base64.b64encode(file.content).decode("ascii")
    return {"content_type": file.content_type, "content_base64": content}


def _read(path: Path, largest: int) -> MailFile:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", field="media") from None
    if len(content) > largest:
        raise InvalidInput(f"{path} has more than {largest:,} bytes, the most that is taken.", field="media")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return MailFile(path.name, kind, content)


async def _written(
    session: aiohttp.ClientSession,
    state: DevState | None,
    account: ChannelAccount,
    wanted: Wanted,
    sender: str,
    recipient: str,
) -> Written:
    """What the customer writes; Meta's files are at its stand-in before the message tells of them."""
    largest = _LARGEST_OF_A_MAIL if account.channel is Channel.EMAIL else _LARGEST_FILE
    file = _read(wanted.media, largest) if wanted.media else None
    at_meta = file is not None and account.channel is Channel.WHATSAPP
    return Written(
        sender=sender,
        recipient=recipient,
        text=wanted.text,
        at=utc_now(),
        new_id=new_uuid7(),
        subject=wanted.subject,
        reply_to=wanted.reply_to,
        file=file,
        media_id=await _upload(session, state, account, file) if file and at_meta else None,
    )


async def _upload(
    session: aiohttp.ClientSession, state: DevState | None, account: ChannelAccount, file: MailFile
) -> str:
    """The file's id at the stand-in of Meta; raises NotPossibleHere where there is none."""
    if state is None:
        raise NotPossibleHere(_NO_SANDBOX)
    form = aiohttp.FormData({"messaging_product": "whatsapp", "type": file.content_type})
    form.add_field("file", file.content, filename=file.filename, content_type=file.content_type)
    headers = {"Authorization": f"Bearer {account.credentials['access_token']}"}
    number = account.credentials["phone_number_id"]
    url = f"{state.stand_ins_url}/whatsapp_cloud/v25.0/{number}/media"
    try:
        async with session.post(url, data=form, headers=headers) as response:
            if response.status != HTTPStatus.OK:
                raise NotPossibleHere(f"The stand-in refused the file: {await response.text()}")
            return str((await response.json())["id"])
    except (aiohttp.ClientConnectionError, TimeoutError):
        raise NotPossibleHere(_NO_SANDBOX) from None


async def _post_signed(
    session: aiohttp.ClientSession,
    services: Services,
    account: ChannelAccount,
    url: str,
    post: SignedPost,
) -> dict[str, Any]:
    """Posts as the provider does, once; under which key the message is stored, the account's adapter says."""
    request = InboundRequest("POST", url, CIMultiDict(post.headers), post.body)
    (item,) = services.adapters[account.provider].parse(account, request)
    assert isinstance(item, InboundMessage), "a customer's message was made"
    answer: dict[str, Any] = {"message_sid": item.provider_key, "status": 0, "body": ""}
    try:
        async with session.post(url, data=post.body, headers=dict(post.headers)) as response:
            return answer | {"status": response.status, "body": await response.text()}
    except (aiohttp.ClientConnectionError, TimeoutError):
        return answer


async def _outcome(
    services: Services, account: ChannelAccount, url: str, answer: dict[str, Any]
) -> Simulated:
    async with services.runtime.database.tenant(account.distributor_id) as connection:
        found = await find_accepted(connection, account.id, answer["message_sid"])
    message_id, conversation_id = found or (None, None)
    return Simulated(
        url, answer["status"], answer["body"].strip(), answer["message_sid"], message_id, conversation_id
    )
