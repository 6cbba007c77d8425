"""Mails to an SMTP server that a tenant names (RFC 5321, 3207, 4954): only the judged address is dialled, nothing is
repeated, and faults are typed by how far the mail had got.
"""

import asyncio
import contextlib
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import aiosmtplib
from aiohttp.abc import AbstractResolver

from channels.errors import (
    BadCredentials,
    ContentRefused,
    EgressBlocked,
    GatewayError,
    InvalidRecipient,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.networks import AddressPolicy, Network
from channels.resolving import Addresses, Lookups, PoolResolver


class SmtpTls(StrEnum):
    """How a connection to an SMTP server is made safe."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"  # only to networks that the deployment allows


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A tenant's SMTP server, and whom to log in as there."""

    host: str
    port: int
    tls: SmtpTls
    username: str | None
    password: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """Seconds: for the name's lookup, for dialling, for each of the server's answers, and for all until the mail goes."""

    lookup: float = 5.0
    connect: float = 5.0
    answer: float = 20.0
    opening: float = 40.0


class SmtpStep(StrEnum):
    """How far a mail had got."""

    OPENING = "opening"
    SENDER = "sender"
    RECIPIENT = "recipient"
    CONTENT = "content"


_SLOW_DOWN = frozenset({421, 450, 451, 452})
_TOO_LARGE = frozenset({"5.3.4", "5.2.3"})
_TOO_LARGE_CODE = 552
_LOGIN_CODES = frozenset({530, 534, 535, 538})
_NOT_OFFERED = {
    aiosmtplib.SMTPException,
    aiosmtplib.SMTPNotSupported,
}  # STARTTLS or a login; faults have other types
_TEMPORARY, _PERMANENT = 400, 500
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b", re.ASCII)  # RFC 2034
_SECURITY = "5.7."  # RFC 3463: the server does not let this account send there


class SmtpClient:
    """Hands mails to tenants' servers, a connection for each. ``allow``: networks that may be reached although private,
    and without TLS; from the deployment's settings only.
    """

    def __init__(
        self,
        allow: tuple[Network, ...] = (),
        *,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        timeouts: SmtpTimeouts | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = AddressPolicy(allow)
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._timeouts = timeouts or SmtpTimeouts()
        self._monotonic = monotonic
        self._lookups: Lookups | None = None

    async def submit(
        self, server: SmtpServer, sender: str, recipient: str, mail: bytes, *, party: str
    ) -> None:
        """Hands one mail over, once. Raises EgressBlocked, BadCredentials, InvalidRecipient, ContentRefused, TooLarge,
        Throttled, LookupsBusy, ProviderUnavailable (not taken), or OutcomeUnknown (perhaps taken).
        """
        async with self._connected(server, sender, party) as client:
            with _typed(SmtpStep.SENDER):
                await client.mail(sender)
            with _typed(SmtpStep.RECIPIENT):
                await client.rcpt(recipient)
            with _typed(SmtpStep.CONTENT):
                await client.data(mail)

    async def aclose(self) -> None:
        """Ends the lookups that are under way."""
        if self._lookups is not None:
            await self._lookups.close()
            self._lookups = None

    @asynccontextmanager
    async def _connected(self, server: SmtpServer, sender: str, party: str) -> AsyncIterator[aiosmtplib.SMTP]:
        addresses = await self._judged(server, party)
        with _typed(SmtpStep.OPENING):
            async with asyncio.timeout(self._timeouts.opening):
                client = await self._open(server, await self._dialled(addresses, server.port), sender)
        try:
            yield client
            with contextlib.suppress(
                aiosmtplib.SMTPException, OSError
            ):  # the mail is theirs, whatever comes now
                await client.quit()
        finally:
            client.close()

    async def _judged(self, server: SmtpServer, party: str) -> Addresses:
        """The server's addresses; refused whole where one is denied, as everywhere."""
        if self._lookups is None:
            self._lookups = Lookups(self._resolver or PoolResolver(), self._monotonic)
        try:
            found = await self._lookups.find(party, server.host, self._timeouts.lookup)
        except (OSError, TimeoutError, ValueError):
            raise ProviderUnavailable(provider_code="dns") from None
        listed_only = server.tls is SmtpTls.NONE
        if not found or not all(
            self._policy.permits(address["host"], listed_only=listed_only) for address in found
        ):
            raise EgressBlocked
        return found

    async def _dialled(self, addresses: Addresses, port: int) -> socket.socket:
        """A connection to the first of the judged addresses that takes one; raises OSError."""
        loop = asyncio.get_running_loop()
        fault: OSError = OSError("no address")
        for address in addresses:
            dialled = socket.socket(socket.AddressFamily(address["family"]), socket.SOCK_STREAM)
            dialled.setblocking(False)
            try:
                async with asyncio.timeout(self._timeouts.connect):
                    await loop.sock_connect(dialled, (address["host"], port))
            except BaseException as error:
                dialled.close()
                if not isinstance(error, OSError):
                    raise
                fault = error
            else:
                return dialled
        raise fault

    async def _open(self, server: SmtpServer, dialled: socket.socket, sender: str) -> aiosmtplib.SMTP:
        try:
            client = aiosmtplib.SMTP(
                hostname=server.host,  # whose certificate is asked for; the socket is what is used
                sock=dialled,
                local_hostname=sender.rpartition("@")[2],
                timeout=self._timeouts.answer,
                use_tls=server.tls is SmtpTls.TLS,
                start_tls=server.tls is SmtpTls.STARTTLS,
                tls_context=self._context(server),
            )
            await client.connect()
        except BaseException:
            dialled.close()
            raise
        try:
            await _log_in(client, server)
        except BaseException:
            client.close()
            raise
        return client

    def _context(self, server: SmtpServer) -> ssl.SSLContext | None:
        if server.tls is SmtpTls.NONE:
            return None
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        return self._ssl_context


async def _log_in(client: aiosmtplib.SMTP, server: SmtpServer) -> None:
    """Where the server offers it: one that asks nobody who they are takes the mail without, and one that does says so
    with 530 at the sender (RFC 4954). What must be secret is TLS's, which is never left out.
    """
    if server.username is None or server.password is None:
        return
    if client.is_ehlo_or_helo_needed:
        with contextlib.suppress(aiosmtplib.SMTPHeloError):  # an old server: the sender's step asks with HELO
            await client.ehlo()
    if client.supports_extension("auth"):
        await client.login(server.username, server.password)


@contextlib.contextmanager
def _typed(step: SmtpStep) -> Iterator[None]:
    """Faults of the exchange as ours."""
    try:
        yield
    except aiosmtplib.SMTPResponseException as error:
        raise error_of_answer(step, error.code, error.message) from None
    except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
        if type(error) in _NOT_OFFERED and step is SmtpStep.OPENING:
            raise BadCredentials("The SMTP server does not offer what the account asks for.") from None
        lost = OutcomeUnknown if step is SmtpStep.CONTENT else ProviderUnavailable
        raise lost(provider_code=_fault_word(error)) from None


def error_of_answer(step: SmtpStep, code: int, text: str) -> GatewayError:
    """The error that a server's refusal means, by its code and its enhanced code (RFC 3463)."""
    found = _ENHANCED.match(text.strip())
    enhanced = found[1] if found else ""
    shown = f"{code} {enhanced}".strip()
    if code < _TEMPORARY:  # neither the success that is documented nor a refusal
        return (OutcomeUnknown if step is SmtpStep.CONTENT else ProviderUnavailable)(provider_code=shown)
    if code < _PERMANENT:
        return (Throttled if code in _SLOW_DOWN else ProviderUnavailable)(provider_code=shown)
    return _refusal(step, code, enhanced)(provider_code=shown)


def _refusal(step: SmtpStep, code: int, enhanced: str) -> type[GatewayError]:
    if code in _LOGIN_CODES:
        return BadCredentials
    if enhanced in _TOO_LARGE or (code == _TOO_LARGE_CODE and not enhanced):
        return TooLarge
    if step is SmtpStep.OPENING:
        return ProviderUnavailable
    if step is SmtpStep.CONTENT:
        return ContentRefused
    if step is SmtpStep.SENDER or enhanced.startswith(_SECURITY):
        return BadCredentials
    return InvalidRecipient


def _fault_word(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    cause = error.__cause__ or error.__context__
    return "tls" if isinstance(error, ssl.SSLError) or isinstance(cause, ssl.SSLError) else "connection"
