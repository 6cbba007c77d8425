"""The form of a URL that a tenant names: read once, so that what is judged is what is dialled.

Refused whatever it resolves to: other schemes, user information, fragments, ports of known services, and
every way of writing an IPv4 address but the dotted one. Names that mean something inside a network only (one
label, ``.internal``) and plain http may reach the deployment's allow list alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from yarl import URL

from channels.errors import HeaderNotAllowed, UrlNotAllowed

URL_LIMIT, NAME_LIMIT = 2048, 253
UNCLEAN = re.compile(r"[\x00-\x20\x7f-\x9f\\]")  # what parsers disagree about
AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)  # URL Standard, "ends in a number"
INSIDE_SUFFIXES = (
    ".internal",
    ".local",
    ".localhost",
    ".localdomain",
    ".lan",
    ".intranet",
    ".corp",
    ".home.arpa",
)
WEB_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
# ssh, mail and the like are below 1024; these are services behind which a POST may do harm
SERVICE_PORTS = frozenset({2375, 2376, 2379, 3306, 5432, 5984, 6379, 9200, 10250, 10255, 11211, 27017})
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)  # RFC 9110 section 5.6.2
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,4096}")
FRAMING_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL of an allowed form. ``listed_only``: it may reach the allow list alone."""

    url: URL
    host: str
    address: str | None
    listed_only: bool


def target_of(url: str) -> Target:
    """The target of a URL; raises UrlNotAllowed, whose text names the rule and not the URL."""
    _check_text(url)
    try:
        parsed = URL(url)
        host, port = parsed.raw_host or "", parsed.port
    except ValueError:
        raise UrlNotAllowed("The URL cannot be read.") from None
    _check_port(port)
    address = _literal(host)
    if address is None:
        _check_name(host)
    listed_only = parsed.scheme == "http" or (address is None and _is_inside(host))
    return Target(parsed, host, address, listed_only)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises HeaderNotAllowed for a header that could change the request's framing or host, or split it."""
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise HeaderNotAllowed
        if is_framing_header(name):
            raise HeaderNotAllowed("This header is set by the gateway itself.")


def is_framing_header(name: str) -> bool:
    """Whether a header frames or routes the request (RFC 9110 §7.6.1, RFC 9112 §6), in whatever case."""
    return name.lower() in FRAMING_HEADERS or name.lower().startswith("proxy-")


def _check_text(url: str) -> None:
    if len(url) > URL_LIMIT or UNCLEAN.search(url):
        raise UrlNotAllowed("The URL is too long or has characters that a URL may not have.")
    match = AUTHORITY.match(url)
    if not match:
        raise UrlNotAllowed("The URL must begin with https://.")
    if "#" in url:
        raise UrlNotAllowed("The URL may have no fragment.")
    if "@" in match[1] or "%" in match[1]:
        raise UrlNotAllowed("The URL may have no user information and no escapes before its path.")


def _check_port(port: int | None) -> None:
    if port in WEB_PORTS:
        return
    if port is None or port < FIRST_FREE_PORT or port in SERVICE_PORTS:
        raise UrlNotAllowed("The URL's port is not allowed.")


def _literal(host: str) -> str | None:
    """The address where the host is one; raises UrlNotAllowed for IPv4 in any but the dotted form."""
    if ":" in host:  # only an IPv6 address in brackets has colons; the policy judges it
        return host
    if not NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2].lower()):
        return None
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        raise UrlNotAllowed("The URL's host is a number but no address.") from None


def _check_name(host: str) -> None:
    if len(host) > NAME_LIMIT or not all(LABEL.fullmatch(label) for label in host.lower().split(".")):
        raise UrlNotAllowed("The URL's host is no name.")


def _is_inside(host: str) -> bool:
    return "." not in host or host.lower().endswith(INSIDE_SUFFIXES)
