"""Which addresses may be reached: a deny list as data, and the deployment's allow list over it.

``ipaddress.is_global`` is no substitute: it says True for NAT64, 6to4, site-local and cloud addresses, and
differs between patch releases. Sources: IANA's special-purpose address registries (RFC 6890 and its updates),
the clouds' docs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED_V4: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network; Linux dials 0.0.0.0 as loopback
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; holds 100.100.100.200 (Alibaba metadata)
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure wire server
        "169.254.0.0/16",  # link-local; holds the metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# of IPv6 only global unicast may be reached; that leaves out loopback, ULA, link-local, NAT64 and the like
GLOBAL_V6 = IPv6Network("2000::/3")
DENIED_V6: tuple[Network, ...] = tuple(
    ip_network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
ISATAP_MARKS = frozenset(
    {0x00005EFE, 0x02005EFE}
)  # RFC 5214 section 6.1: the last 32 bits are an IPv4 address


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Judges addresses. ``allow`` is set by the deployment, never by a tenant."""

    allow: tuple[Network, ...] = ()

    def permits(self, address: str, *, listed_only: bool = False) -> bool:
        """Whether this address may be dialled; with ``listed_only`` only what the allow list names.

        What is no address is never permitted.
        """
        try:
            ip = unwrapped(address)
        except ValueError:
            return False
        return _within(ip, self.allow) or (not listed_only and not is_denied(ip))


def unwrapped(address: str) -> Address:
    """The address that will really be reached: no zone, and the IPv4 of an IPv4-mapped one; raises
    ValueError.
    """
    ip = ip_address(address.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def is_denied(ip: Address) -> bool:
    """Whether an (unwrapped) address is private, special or otherwise not of the public internet."""
    if isinstance(ip, IPv4Address):
        return _within(ip, DENIED_V4)
    if ip not in GLOBAL_V6 or _within(ip, DENIED_V6):
        return True
    embedded = int(ip) >> 32 & 0xFFFFFFFF in ISATAP_MARKS
    return embedded and is_denied(IPv4Address(int(ip) & 0xFFFFFFFF))


def _within(ip: Address, networks: Sequence[Network]) -> bool:
    return any(ip in network for network in networks)
