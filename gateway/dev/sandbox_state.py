"""What the stand-in of Twilio holds, in memory: accounts, messages, scripted faults, opt-outs, media."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from channels.splitting import count_segments
from gateway.dev.sandbox_rules import Fault

API_VERSION = "2010-04-01"
DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE = 50, 1000
DATE_FILTERS: Mapping[str, Callable[[date, date], bool]] = {
    "DateSent": lambda sent, named: sent == named,
    "DateSent<": lambda sent, named: sent <= named,
    "DateSent>": lambda sent, named: sent >= named,
}


@dataclass(slots=True)
class SandboxMessage:
    """One message resource and what became of its callbacks."""

    account_sid: str
    sid: str
    to: str
    sender: str | None
    body: str
    created: datetime
    direction: str = "outbound-api"
    status: str = "queued"
    service: str | None = None
    media: tuple[str, ...] = ()
    callback: str | None = None
    updated: datetime | None = None
    sent: datetime | None = None
    error_code: int | None = None
    outcome: str | None = None
    callbacks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def uri(self) -> str:
        return f"/{API_VERSION}/Accounts/{self.account_sid}/Messages/{self.sid}"

    def resource(self) -> dict[str, Any]:
        """The message as Twilio's API shows it."""
        return {
            "account_sid": self.account_sid,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": _rfc2822(self.created),
            "date_sent": _rfc2822(self.sent),
            "date_updated": _rfc2822(self.updated or self.created),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": "Scripted fault" if self.error_code else None,
            "from": self.sender,
            "messaging_service_sid": self.service,
            "num_media": str(len(self.media)),
            "num_segments": str(count_segments(self.body)),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{self.uri}/Media.json"},
            "to": self.to,
            "uri": f"{self.uri}.json",
        }


@dataclass(frozen=True, slots=True)
class Media:
    """A file of an inbound message that the sandbox itself serves."""

    account_sid: str
    message_sid: str
    content_type: str
    created: datetime
    content: bytes = field(repr=False)


@dataclass(slots=True)
class SandboxState:
    """Everything the sandbox knows. ``accounts`` maps an AccountSid to its auth token."""

    accounts: dict[str, str] = field(repr=False)
    new_id: Callable[[], UUID]
    clock: Callable[[], datetime]
    messages: list[SandboxMessage] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    opted_out: set[tuple[str, str]] = field(default_factory=set)  # (customer, sender)
    media: dict[str, Media] = field(default_factory=dict, repr=False)
    typing: list[str] = field(
        default_factory=list
    )  # the messages whose writers were shown an answer being written
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def new_sid(self, prefix: str) -> str:
        return prefix + self.new_id().hex

    def message(self, account_sid: str, sid: str) -> SandboxMessage | None:
        own = (held for held in self.messages if held.account_sid == account_sid)
        return next((held for held in own if held.sid == sid), None)

    async def settle(self) -> None:
        """Waits until every callback that is under way has been made."""
        while self.tasks:
            await asyncio.gather(*self.tasks)


def listing(messages: Iterable[SandboxMessage], path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of the messages that the query asks for, the newest first, in the form of Twilio's list answer.

    Raises ValueError where a page's number or size, or a date, is not one.
    """
    found = [held for held in reversed(list(messages)) if _matches(held, query)]
    size, page = int(query.get("PageSize") or DEFAULT_PAGE_SIZE), int(query.get("Page") or 0)
    if not 1 <= size <= LARGEST_PAGE_SIZE or page < 0:
        raise ValueError("PageSize or Page is out of range")
    start = page * size
    shown = found[start : start + size]
    return {
        "end": start + max(len(shown) - 1, 0),
        "first_page_uri": _page_uri(path, query, size, 0),
        "next_page_uri": _page_uri(path, query, size, page + 1, shown[-1:])
        if start + size < len(found)
        else None,
        "page": page,
        "page_size": size,
        "previous_page_uri": _page_uri(path, query, size, page - 1, shown[:1]) if page else None,
        "messages": [held.resource() for held in shown],
        "start": start,
        "uri": _page_uri(path, query, size, page),
    }


def media_listing(state: SandboxState, message: SandboxMessage) -> dict[str, Any]:
    """A message's files in the form of Twilio's list answer; all on one page."""
    path = f"{message.uri}/Media.json"
    media = [
        {
            "sid": sid,
            "account_sid": held.account_sid,
            "parent_sid": message.sid,
            "content_type": held.content_type,
            "date_created": _rfc2822(held.created),
            "date_updated": _rfc2822(held.created),
            "uri": f"{message.uri}/Media/{sid}.json",
        }
        for sid, held in state.media.items()
        if held.message_sid == message.sid
    ]
    return {
        "end": max(len(media) - 1, 0),
        "first_page_uri": _page_uri(path, {}, DEFAULT_PAGE_SIZE, 0),
        "next_page_uri": None,
        "page": 0,
        "page_size": DEFAULT_PAGE_SIZE,
        "previous_page_uri": None,
        "media_list": media,
        "start": 0,
        "uri": _page_uri(path, {}, DEFAULT_PAGE_SIZE, 0),
    }


def _matches(held: SandboxMessage, query: Mapping[str, str]) -> bool:
    if query.get("To", held.to) != held.to or query.get("From", held.sender) != held.sender:
        return False
    asked = ((compare, query[name]) for name, compare in DATE_FILTERS.items() if query.get(name))
    return all(held.sent is not None and compare(held.sent.date(), _date(text)) for compare, text in asked)


def _date(text: str) -> date:
    return datetime.fromisoformat(text).date()


def _page_uri(
    path: str, query: Mapping[str, str], size: int, page: int, edge: Iterable[SandboxMessage] = ()
) -> str:
    asked = {name: value for name, value in query.items() if name not in {"Page", "PageSize", "PageToken"}}
    token = [("PageToken", f"PA{held.sid}") for held in edge]
    return f"{path}?{urlencode([*asked.items(), ('PageSize', size), ('Page', page), *token])}"


def _rfc2822(moment: datetime | None) -> str | None:
    return format_datetime(moment.astimezone(UTC)) if moment else None
