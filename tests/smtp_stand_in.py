"""A mail server on loopback: it takes mails and keeps them, asks for a login, and goes wrong as scripted."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from channels.smtp import SmtpStep

SIZE_LIMIT = 40 * 1024 * 1024
TAKEN = "250 2.0.0 Taken"


@dataclass(frozen=True, slots=True)
class SmtpFault:
    """How the next mail goes wrong: at ``step`` it is answered so, or the connection breaks where ``answer`` is empty.
    ``taken``: the content is kept all the same. ``hangs``: no answer ever comes to the content.
    """

    step: SmtpStep
    answer: str = ""
    taken: bool = False
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class TakenMail:
    """A mail that the server took, with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    over_tls: bool = False
    username: str | None = None


@dataclass(slots=True)
class SmtpState:
    """What the server knows. ``users``: passwords by name; empty: nobody has to log in."""

    users: dict[str, str] = field(default_factory=dict, repr=False)
    offers_login: bool = True  # else over TLS only
    taken: list[TakenMail] = field(default_factory=list)
    faults: deque[SmtpFault] = field(default_factory=deque)
    connections: int = 0

    def fault_at(self, step: SmtpStep) -> SmtpFault | None:
        """The next fault if it is of this step."""
        return self.faults.popleft() if self.faults and self.faults[0].step is step else None


class _Server(SMTP):
    """The protocol, and the way to break its connection."""

    def break_off(self) -> None:
        transport: Any = self.transport  # uvloop's is of no class of asyncio's
        if transport is not None:
            transport.abort()


class _Handler:
    """aiosmtpd's hooks."""

    def __init__(self, state: SmtpState) -> None:
        self._state = state

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: _Server, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self._state.users and not session.authenticated:
            return "530 5.7.0 Log in first"  # aiosmtpd asks for it over TLS only, or warns
        envelope.mail_from = address
        return self._gone_wrong(server, SmtpStep.SENDER) or "250 2.1.0 Sender OK"

    async def handle_RCPT(  # noqa: N802
        self, server: _Server, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        refused = self._gone_wrong(server, SmtpStep.RECIPIENT)
        if refused:
            return refused
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient OK"

    async def handle_DATA(self, server: _Server, session: Session, envelope: Envelope) -> str:  # noqa: N802
        fault = self._state.fault_at(SmtpStep.CONTENT)
        if fault is None or fault.taken:
            self._take(session, envelope)
        if fault is not None and fault.hangs:
            await asyncio.Event().wait()  # until the client goes
        return self._answer(server, fault) or TAKEN

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: LoginPassword
    ) -> AuthResult:
        """Aiosmtpd's authenticator."""
        name = login.login.decode()
        known = self._state.users.get(name) == login.password.decode()
        return AuthResult(success=known, handled=False, auth_data=name)

    def _gone_wrong(self, server: _Server, step: SmtpStep) -> str:
        return self._answer(server, self._state.fault_at(step))

    def _answer(self, server: _Server, fault: SmtpFault | None) -> str:
        if fault is not None and not fault.answer:
            server.break_off()
            return "421 4.3.2 Gone"
        return fault.answer if fault is not None else ""

    def _take(self, session: Session, envelope: Envelope) -> None:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self._state.taken.append(
            TakenMail(
                envelope.mail_from or "",
                tuple(envelope.rcpt_tos),
                content,
                over_tls=session.ssl is not None,
                username=session.auth_data,
            )
        )


@asynccontextmanager
async def running_smtp(
    state: SmtpState,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serves on a port of its own (0: any free one) and gives it; ``starttls`` or ``tls`` with a certificate."""
    handler = _Handler(state)

    def connected() -> SMTP:
        state.connections += 1
        return _Server(
            handler,
            data_size_limit=SIZE_LIMIT,
            hostname="mail.stand-in.test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_require_tls=not state.offers_login,
            authenticator=handler.authenticate,
        )

    server = await asyncio.get_running_loop().create_server(connected, host, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
