"""What a TLS client shows of itself (mTLS): checked when it is registered, and one TLS context for each owner's."""

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from channels.errors import InvalidInput
from channels.exchanges import ClientCertificate

PEM_LIMIT = 64 * 1024  # characters of chain and key together
# A context holds the system's trust anchors once more: 0.8 MiB and 25 ms of work each, measured.
MOST_CONTEXTS = 128
UNREADABLE = (
    "The certificate, or its key, is no PEM, they do not belong together, or the key has a passphrase."
)

_Owner = tuple[str, ClientCertificate]


def check_certificate(certificate: ClientCertificate, now: datetime) -> None:
    """For registration: raises InvalidInput where this cannot be shown, or not at ``now`` (aware)."""
    if len(certificate.chain) + len(certificate.key) > PEM_LIMIT:
        raise InvalidInput("The certificate is too long.", field="certificate")
    load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)
    try:
        leaf = x509.load_pem_x509_certificate(certificate.chain.encode())
    except ValueError:
        raise InvalidInput(UNREADABLE, field="certificate") from None
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise InvalidInput("The certificate is not valid now.", field="certificate")


def load(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    """Makes a context show the certificate; raises InvalidInput."""
    try:
        with _as_file(f"{certificate.chain}\n{certificate.key}\n".encode()) as path:
            # The empty passphrase is asked for in place of one on the terminal, and fits no key that has one.
            context.load_cert_chain(path, password="")
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise InvalidInput(UNREADABLE, field="certificate") from None


class CertificateContexts:
    """TLS contexts that show certificates, made when they are first asked for, the most recently used ones kept.

    One per owner and certificate, even where two owners have the same: a connection belongs to its context. ``trust``
    makes a context that knows whose certificates to believe.
    """

    def __init__(self, trust: Callable[[], ssl.SSLContext]) -> None:
        self._trust = trust
        self._made: OrderedDict[_Owner, asyncio.Future[ssl.SSLContext]] = OrderedDict()

    async def of(self, owner: str, certificate: ClientCertificate) -> ssl.SSLContext:
        """The owner's context; raises InvalidInput."""
        key = (owner, certificate)
        if key not in self._made:
            self._made[key] = asyncio.ensure_future(asyncio.to_thread(self._make, certificate))
            if len(self._made) > MOST_CONTEXTS:
                self._made.popitem(last=False)
        self._made.move_to_end(key)
        try:
            return await asyncio.shield(self._made[key])
        except InvalidInput:
            self._made.pop(key, None)
            raise

    def _make(self, certificate: ClientCertificate) -> ssl.SSLContext:
        context = self._trust()
        load(context, certificate)
        return context


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path to the content, which is all that OpenSSL reads keys from here; in memory where the system can."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "certificate.pem")
        path.write_bytes(content)
        yield str(path)
