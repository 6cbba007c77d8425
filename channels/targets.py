"""The form of a URL that a tenant names: read once, so that what is judged is what is dialled.

Refused whatever it resolves to: other schemes, user information, fragments, and every way of writing an IPv4
address but the dotted one. Names that mean something inside a network only (one label, ``.internal``), ports of
services that are not web servers, and plain http may reach the deployment's allow list alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
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
# Ssh, mail and the like are below 1024; these are services behind which a POST may do harm: databases, queues and
# caches, the ports of container hosts and clusters, and those that browsers refuse (Fetch standard, "bad port").
SERVICE_PORTS = frozenset(
    {
        *(1433, 1521, 2483, 2484, 3306, 5432, 5984, 6379, 6380, 7199, 9042, 9160, 9200, 9300, 11211),
        *(27017, 27018, 27019, 28015),
        *(2181, 4369, 5671, 5672, 9092, 9094, 61613, 61616),
        *(2375, 2376, 2377, 2379, 2380, 6443, 10248, 10249, 10250, 10255, 10256, 10257, 10259),
        *(3389, 5900, 5985, 5986),
        *(1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669),
        *(6679, 6697, 10080),
    }
)
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}", re.ASCII)  # RFC 9110 section 5.6.2
VALUE_LIMIT = 4096
HEADER_VALUE = re.compile(rf"[\t\x20-\x7e\x80-\xff]{{0,{VALUE_LIMIT}}}")
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
    if not port:  # 0 is none, and is not sent
        raise UrlNotAllowed("The URL's port is not allowed.")
    address = _literal(host)
    if address is None:
        _check_name(host)
    of_a_name = address is None and _is_inside(host)
    listed_only = parsed.scheme == "http" or of_a_name or not _is_web_port(port)
    return Target(parsed, host, address, listed_only)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raises HeaderNotAllowed for a header that could change the request's framing or host, or split it."""
    for name, value in headers.items():
        if not _is_plain(value) and not HEADER_VALUE.fullmatch(value):
            raise HeaderNotAllowed
        if refusal := _refusal_of(name):
            raise HeaderNotAllowed(refusal)


def _is_plain(value: str) -> bool:
    """Most values are; cheaper to find out than by the pattern, of which this is a part."""
    return len(value) <= VALUE_LIMIT and value.isascii() and value.isprintable()


@lru_cache(maxsize=1024)  # the same few names come with every exchange
def _refusal_of(name: str) -> str | None:
    if not HEADER_NAME.fullmatch(name):
        return str(HeaderNotAllowed())
    return "This header is set by the gateway itself." if is_framing_header(name) else None


def is_framing_header(name: str) -> bool:
    """Whether a header frames or routes the request (RFC 9110 §7.6.1, RFC 9112 §6), in whatever case."""
    lowered = name.lower()
    return lowered in FRAMING_HEADERS or lowered.startswith("proxy-")


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


def _is_web_port(port: int) -> bool:
    return port in WEB_PORTS or (port >= FIRST_FREE_PORT and port not in SERVICE_PORTS)


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
