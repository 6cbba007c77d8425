"""The way to a server: is the DSN one that can be used, where does it lead, and why was nothing reached there.

A DSN holds a password, and a careless one holds it where a parser takes it for something else. So no text of
this module repeats a part of a DSN but host and port, and those only after the DSN has passed the check.
"""

import errno
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit, urlunsplit

import asyncpg

from db.errors import DatabaseError, DatabaseRefused, DatabaseUnavailable

CONNECT_SECONDS: Final = 10.0
DEFAULT_PORT: Final = "5432"
_LARGEST_PORT: Final = 65535
_SCHEME: Final = re.compile(r"postgres(?:ql)?://", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:]+)(?::(?P<port>\d*))?")
_WRONG_SCHEME: Final = "must begin with postgresql:// or postgres://, since it names a PostgreSQL server"
_UNUSABLE: Final = (
    "is not a usable URL; percent-encode what user name and password hold of # / ? @ : [ ] and %, and write the"
    " port as a number: postgresql://user:password@host:5432/database"
)
# What the driver takes; it would tell a wrong one only with a trace: https://www.postgresql.org/docs/17/libpq-connect.html
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        "sslnegotiation": ("postgres", "direct"),
        "target_session_attrs": ("any", "primary", "standby", "prefer-standby", "read-write", "read-only"),
    }
)
# The first that fits; a later kind may contain an earlier one.
_REFUSALS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (asyncpg.InvalidPasswordError, "does not take this user name and password"),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "does not let this user in: it is unknown there, or pg_hba.conf refuses it",
    ),
    (asyncpg.InvalidCatalogNameError, "is not there: the server has no database of that name"),
    (asyncpg.InsufficientPrivilegeError, "does not let this user connect"),
)
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (socket.gaierror, "the host name was not found"),
    (TimeoutError, f"no answer within {CONNECT_SECONDS:.0f} s"),
    (ssl.SSLCertVerificationError, "TLS failed, its certificate is not one to trust"),
    (ssl.SSLError, "TLS failed"),
    (FileNotFoundError, "a socket or a certificate's file is not there"),
    (PermissionError, "a socket or a certificate's file may not be read"),
    (asyncpg.CannotConnectNowError, "it is starting up or shutting down"),
    (asyncpg.TooManyConnectionsError, "it has no connection left"),
    (asyncpg.TargetServerAttributeNotMatched, "no server there is what target_session_attrs asks for"),
    (asyncpg.PostgresConnectionError, "the connection was closed before it was made; is it PostgreSQL?"),
)
CONNECT_ERRORS: Final = (
    OSError,
    ValueError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_LOST: Final = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_DEMANDED_TLS: Final = frozenset(_CHOICES["sslmode"][3:])


def check_dsn(dsn: str) -> None:
    """Raises ValueError for a DSN that the driver would refuse or misread; its text repeats nothing of it."""
    if not _SCHEME.match(dsn):
        raise ValueError(_WRONG_SCHEME)
    try:
        parts = urlsplit(dsn)
        query = _query(parts)
        usable = "#" not in dsn and _is_usable(parts, query)
    except ValueError:
        raise ValueError(_UNUSABLE) from None
    if not usable:
        raise ValueError(_UNUSABLE)
    for name, choices in _CHOICES.items():
        if query.get(name, choices[0]) not in choices:
            raise ValueError(f"has a wrong {name}; it must be one of {', '.join(choices)}")


def target_of(dsn: str) -> str:
    """Host and port that a checked DSN names, several of them separated by commas; for messages."""
    parts = urlsplit(dsn)
    query = _query(parts)
    hosts = parts.netloc.rpartition("@")[2] or query.get("host", "")
    default = query.get("port", DEFAULT_PORT)
    return (
        ", ".join(_with_port(unquote(host), default) for host in hosts.split(","))
        if hosts
        else "this machine"
    )


def with_login(dsn: str, user: str, password: str) -> str:
    """The same DSN for another login."""
    parts = urlsplit(dsn)
    hosts = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{quote(password)}@{hosts}"))


async def connect(dsn: str, **options: Any) -> Any:
    """A connection of its own; raises DatabaseUnavailable or DatabaseRefused with the reason's kind."""
    try:
        return await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, **options)
    except CONNECT_ERRORS as error:
        raise connect_error(dsn, error) from None


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    """``connect`` for the length of the block; DatabaseUnavailable also where the server goes away meanwhile."""
    connection = await connect(dsn)
    try:
        yield connection
    except _LOST as error:
        raise DatabaseUnavailable(f"The connection to the database at {target_of(dsn)} was lost") from error
    finally:
        await connection.close()


def connect_error(dsn: str, error: Exception) -> DatabaseError:
    """What a failed connect means, for an operator; names host and port, never a user or a password.

    The driver's own text is not passed on: it may name the user, and for a misread DSN it may be the password.
    """
    if isinstance(error, ValueError) and not isinstance(
        error, ssl.SSLError
    ):  # it did not get as far as a server
        return DatabaseRefused("WAYSTATION_DATABASE_URL holds something that the driver cannot use")
    where = target_of(dsn)
    for kind, refusal in _REFUSALS:
        if isinstance(error, kind):
            return DatabaseRefused(f"The database at {where} {refusal}")
    return DatabaseUnavailable(f"The database at {where} cannot be reached: {_reason(dsn, error)}")


def _query(parts: SplitResult) -> dict[str, str]:
    fields = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    return {name: values[-1] for name, values in fields.items()}


def _is_usable(parts: SplitResult, query: Mapping[str, str]) -> bool:
    """Whether each character is where it belongs: an @ in path or query was meant to end a password."""
    login, _, hosts = parts.netloc.rpartition("@")
    misplaced = any("@" in text for text in (login, parts.path, parts.query))
    ports = [*_ports(hosts), *_ports(query.get("host", "")), *filter(None, query.get("port", "").split(","))]
    return not misplaced and all(0 < int(port) <= _LARGEST_PORT for port in ports)


def _ports(hosts: str) -> Iterator[str]:
    """The ports of a list of hosts; raises ValueError for a host of another form."""
    for host in hosts.split(",") if hosts else ():
        found = _HOST.fullmatch(host)
        if found is None:
            raise ValueError
        if found["port"]:
            yield found["port"]


def _with_port(host: str, default: str) -> str:
    if host.startswith("/"):
        return host
    found = _HOST.fullmatch(host)
    return host if found and found["port"] else f"{host.rstrip(':')}:{default}"


def _reason(dsn: str, error: Exception) -> str:
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, asyncpg.PostgresError):
        return f"it answered {type(error).__name__}"
    if isinstance(error, OSError) and _is_refusal(error):
        return "the connection was refused"
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number else _broken_greeting(dsn)


def _is_refusal(error: OSError) -> bool:
    # A name with several addresses has their errors only in the text.
    return isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error)


def _broken_greeting(dsn: str) -> str:
    """Something listens, and it did not answer as PostgreSQL does, or not with the TLS that was asked for."""
    if _query(urlsplit(dsn)).get("sslmode") in _DEMANDED_TLS:
        return "it does not speak TLS, or it is not PostgreSQL"
    return "what answers there is not PostgreSQL"
