"""What is known of one exchange with an address that is not ours, whether it was answered or not."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ExchangeTrace:
    """How far an exchange came. Times are milliseconds of each phase; None where it was not reached, or not needed: a
    literal needs no lookup, a connection that is used again neither dials nor greets. A phase that the exchange broke
    off in lasted until then. The first byte is counted from when the connection was there, the total from the lookup
    to the body's end.

    ``address`` is the one that was dialled last, empty where none was. Where our own rules refused the dial all of it
    is empty.
    """

    address: str = ""
    reused: bool = False
    tls_version: str = ""
    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What a TLS client shows: a certificate chain and its private key, both PEM."""

    chain: str = field(repr=False)
    key: str = field(repr=False)
