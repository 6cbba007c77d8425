"""What an operation is: declared once, it becomes a route and its page in the OpenAPI document."""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from http import HTTPMethod, HTTPStatus
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel

from channels.base import ChannelAdapter
from channels.egress import EgressClient
from db.idempotency import JoinedDatabase
from db.rows import KeyOwner
from db.tenant import Connection
from gateway.accounts import AccountDirectory
from gateway.api.schemas import NoQuery
from gateway.arrivals import Arrivals
from handlers.runtime import Runtime

BODY_CAP = 1024 * 1024
JSON = "application/json"
NO_ID = UUID(int=0)
WORD = "type"  # what a path calls a name of a closed list
_PATH_NAMES = re.compile(r"\{(\w+)\}")

BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT, QueryT]):
    """One valid request of a known tenant.

    ``id`` is the path's, ``part_id`` its second one, of a part of the first (NO_ID where it has none).
    """

    operation: "Operation"
    runtime: Runtime
    adapters: Mapping[str, ChannelAdapter]
    egress: EgressClient
    accounts: AccountDirectory
    arrivals: Arrivals
    is_gone: Callable[[], bool]  # whether the client has left
    owner: KeyOwner
    id: UUID
    body: BodyT
    query: QueryT
    part_id: UUID = NO_ID
    word: str = ""  # the path's name of something that has no id
    prepared: Any = None  # what the operation's ``prepare`` gave

    @property
    def distributor_id(self) -> UUID:
        return self.owner.distributor_id

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction of the caller's tenant."""
        return self.runtime.database.tenant(self.distributor_id)

    def joined(self, connection: Connection) -> "Call[BodyT, QueryT]":
        """This call, whose transactions are parts of that open one: what they change is not seen before it ends."""
        database = JoinedDatabase(self.runtime.database, connection, self.distributor_id)
        return replace(self, runtime=replace(self.runtime, database=database))

    async def prepare(self) -> "Call[BodyT, QueryT]":
        """This call after its operation's ``prepare``."""
        prepare = self.operation.prepare
        return self if prepare is None else replace(self, prepared=await prepare(self))


BodyReader = Callable[[bytes, str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the API.

    ``handle`` gives back what is answered, of type ``response``. ``prepare`` runs before it, outside of any
    transaction: the place to wait for others. ``read_body`` (content, content type) replaces the reading of
    JSON into ``body``; one that is not ``body_required`` may be left out and is the model's defaults then.
    ``errors`` names what is special to the operation: 400, 401, 404, 413, 415 and 422 follow from its form.
    """

    method: HTTPMethod
    path: str
    tag: str
    summary: str
    handle: Callable[[Call[Any, Any]], Awaitable[BaseModel | None]]
    description: str = ""
    body: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] = NoQuery
    response: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    errors: tuple[HTTPStatus, ...] = ()
    prepare: Callable[[Call[Any, Any]], Awaitable[Any]] | None = None
    read_body: BodyReader | None = None
    body_types: tuple[str, ...] = (JSON,)
    body_cap: int = BODY_CAP

    @property
    def name(self) -> str:
        """The operation's id: its function's name."""
        return getattr(self.handle, "__name__", self.summary)

    @property
    def id_names(self) -> tuple[str, ...]:
        """The names of the path's ids: none, one, or one and a part's."""
        return tuple(name for name in self.path_names if name != WORD)

    @property
    def path_names(self) -> tuple[str, ...]:
        """The names of all that varies in the path."""
        return tuple(_PATH_NAMES.findall(self.path))
