"""Connections of the guarded client: dialled only where the policy permits, measured phase by phase, and closed as
soon as the other side says more than it was asked for.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

import aiohttp
from aiohttp import ClientRequest, ClientTimeout, TCPConnector
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import AddrInfoType, Connection
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

from channels.exchanges import ExchangeTrace
from channels.networks import AddressPolicy
from channels.resolving import Addresses

KEEP_ALIVE = 4.0  # seconds; under the 5 after which many servers (Node's default) close an idle connection
END_OF_HEAD = b"\r\n\r\n"
# Bytes. Whoever has not said its status by then says none: aiohttp's own limits count headers, not interim answers.
HEAD_ROOM = 64 * 1024
# Bytes beside twice the body's cap for how a body is framed, and for what one read of the socket brings at a time.
FRAMING_ROOM = 512 * 1024
FIRST_FINAL_STATUS = 200
SWITCHING_PROTOCOLS = 101
MILLISECONDS = 1000.0

Monotonic = Callable[[], float]


@dataclass(slots=True)
class Exchange:
    """What the connector must know about one exchange, and what it learns; moments are seconds of a monotonic clock.

    ``body_cap`` bytes of the answer will be read.
    """

    body_cap: int
    began_at: float
    listed_only: bool = False
    addresses: Addresses = field(default_factory=list)
    asked_at: float | None = None  # for the name's addresses; a literal has none to ask for
    resolved_at: float | None = None
    dialled_at: float | None = None
    connected_at: float | None = None
    ready_at: float | None = None
    first_byte_at: float | None = None
    address: str = ""
    tls_version: str = ""
    is_tls: bool = False
    reused: bool = False
    blocked: bool = False
    short: bool = False  # of sockets, which is no fault of the other side
    broken_off: bool = False  # the body ended where its framing was wrong

    def trace(self, now: float) -> ExchangeTrace:
        """How far it came until ``now``; of one that our own rules stopped nothing is told."""
        if self.blocked:
            return ExchangeTrace()
        return ExchangeTrace(
            address=self.address,
            reused=self.reused,
            tls_version=self.tls_version,
            dns_ms=_span(self.asked_at, self.resolved_at, now),
            connect_ms=_span(self.dialled_at, self.connected_at, now),
            tls_ms=_span(self.connected_at, self.ready_at, now) if self.is_tls else None,
            first_byte_ms=_span(self.ready_at, self.first_byte_at, now),
            total_ms=_span(self.began_at, now, now),
        )


def _span(start: float | None, end: float | None, now: float) -> float | None:
    """Milliseconds of a phase, until now if it has not ended; None if it has not begun."""
    if start is None:
        return None
    return ((now if end is None else end) - start) * MILLISECONDS


EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")  # there is no other way to tell a connector


class Refusal(OSError):
    """Refused by policy; an OSError because that is what a socket factory may raise."""


class GuardedConnector(TCPConnector):
    """Judges each address when it is dialled; a connection used again has been judged then.

    Scheme, host, port and TLS context are in the key of a connection: one made for the allow list serves no other
    target, and one made with a client's certificate serves nobody else.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        ssl_context: ssl.SSLContext | None,
        connections: int,
        monotonic: Monotonic,
    ) -> None:
        super().__init__(
            resolver=_FoundAddresses(),
            use_dns_cache=False,  # it would share one tenant's addresses with others, and its failures, too
            ssl=ssl_context or True,
            limit=connections,
            keepalive_timeout=KEEP_ALIVE,
            socket_factory=self._socket,
        )
        # The base's own factory of protocols, and the one moment between a dial and its TLS handshake.
        self._factory = self._protocol  # type: ignore[assignment]
        self._policy = policy
        self._most_idle = connections
        self._monotonic = monotonic

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - the base's signature
    ) -> Connection:
        exchange = EXCHANGE.get()
        exchange.is_tls = req.is_ssl()
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if isinstance(protocol, GuardedProtocol):
            protocol.begin(exchange)
            if (
                len(self._conns) >= self._most_idle
            ):  # the base bounds connections at work, not those that wait
                protocol.force_close()
        return connection

    def _protocol(self) -> "GuardedProtocol":
        EXCHANGE.get().connected_at = self._monotonic()
        return GuardedProtocol(self._loop, self._monotonic)

    def _socket(self, candidate: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = candidate
        exchange = EXCHANGE.get()
        if not self._policy.permits(str(address[0]), listed_only=exchange.listed_only):
            exchange.blocked = True  # several refusals may reach the caller merged into a plain OSError
            raise Refusal
        exchange.address = str(address[0])
        if exchange.dialled_at is None:
            exchange.dialled_at = self._monotonic()
        try:
            return socket.socket(family, kind, protocol)
        except OSError:
            exchange.short = True
            raise


class GuardedProtocol(ResponseHandler):
    """One connection. Bytes that nobody waits for end it: they would be taken for the next exchange's answer, which
    may be another tenant's. So do more bytes than the answer may have.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, monotonic: Monotonic) -> None:
        super().__init__(loop)
        self._monotonic = monotonic
        self._exchange: Exchange | None = None
        self._answered = False
        self._room = 0
        self._address = ""
        self._tls_version = ""

    def begin(self, exchange: Exchange) -> None:
        """The connection is this exchange's from now on."""
        exchange.reused = self._exchange is not None
        if self._exchange is None:
            self._introduce()
        exchange.address, exchange.tls_version = self._address, self._tls_version
        exchange.ready_at = self._monotonic()
        self._exchange, self._answered, self._room = exchange, False, HEAD_ROOM

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if not data:  # the base says so to itself, to go on with what it held back
            super().data_received(data)
            return
        if exchange is None or self._room < 0 or (self._answered and self._is_idle()):
            self._cut()
            return
        if exchange.first_byte_at is None:
            exchange.first_byte_at = self._monotonic()
        self._room -= len(data)
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Heads by themselves: the parser drops a status with the fault that follows it in the same bytes."""
        while data and not self._answered:
            head, end, data = data.partition(END_OF_HEAD)
            super().data_received(head + end)
            if self.exception() is not None:
                return
        if not data:
            return
        if self._is_idle():  # more than the answer may have
            self._cut()
            return
        super().data_received(data)
        if self._exchange and self._payload and self.exception() is not None and not self._payload.is_eof():
            self._exchange.broken_off = True
            self._payload.feed_eof()  # or who reads it waits for the rest; as an error it would lose what came

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        status = data[0].code
        if self._answered:  # a second answer in the same breath as the first
            self.force_close()
            return
        if self._exchange and (status >= FIRST_FINAL_STATUS or status == SWITCHING_PROTOCOLS):
            self._answered = True
            self._room += 2 * self._exchange.body_cap + FRAMING_ROOM
        super().feed_data(data, size)

    def _introduce(self) -> None:
        if self.transport is None:
            return
        peer = self.transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        secured = self.transport.get_extra_info("ssl_object")
        self._tls_version = str(secured.version() or "") if secured else ""

    def _is_idle(self) -> bool:
        return self._payload is None or self._payload.is_eof()

    def _cut(self) -> None:
        self.set_exception(aiohttp.ClientPayloadError())
        if self.transport is not None:
            self.transport.abort()


class _FoundAddresses(AbstractResolver):
    """Gives the connector what was looked up and judged for the exchange at hand."""

    async def resolve(
        self,
        host: str,  # noqa: ARG002 - the exchange's own
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - all were asked for
    ) -> Addresses:
        return [{**address, "port": port} for address in EXCHANGE.get().addresses]

    async def close(self) -> None:
        """Holds nothing."""
