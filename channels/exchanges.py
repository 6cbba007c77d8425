"""What is known of one exchange with an address that is not ours, whether it was answered or not."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ExchangeTrace:
    """How far an exchange came. Times are milliseconds of each phase; None where it was not reached, or not needed: a
    literal needs no lookup, a connection that is used again neither dials nor greets.

    ``address`` is the one that was dialled, empty where none was, and where the dial was refused by our own rules.
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
