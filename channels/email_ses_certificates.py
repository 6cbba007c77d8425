"""The certificates by which SNS's posts are verified: fetched once from SNS itself, kept, and checked.

The URL is held to SNS's own host before it is asked, over verified TLS, so that nobody can bring a certificate of their
own.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

from channels.errors import ProviderUnavailable, VerificationFailed
from channels.provider_api import ProviderApi

MOST = 64  # certificates; there is one per region, and a new one now and then
_SIGNER = "sns.amazonaws.com"
_MISSING = 404


class Certificates:
    """Keys by the host and path of their certificate. ``api_url`` takes SNS's place where the operator set it."""

    def __init__(self, api: ProviderApi, api_url: str | None, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._api_url = api_url
        self._clock = clock
        self._known: dict[str, x509.Certificate] = {}
        self._fetching: dict[str, asyncio.Task[x509.Certificate]] = {}

    async def fetch(self, host: str, path: str) -> None:
        """Has the certificate ready for ``find``; raises VerificationFailed or ProviderUnavailable."""
        url = (self._api_url or f"https://{host}") + path
        if url in self._known:
            return
        # One fetch for all who wait; a waiter that leaves must not end it for the others.
        task = self._fetching.get(url) or asyncio.create_task(self._get(url))
        self._fetching[url] = task
        try:
            certificate = await asyncio.shield(task)
        finally:
            if task.done():
                self._fetching.pop(url, None)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[url] = certificate

    def find(self, host: str, path: str) -> RSAPublicKey:
        """The key of a certificate that was fetched and is in force; raises VerificationFailed."""
        certificate = self._known.get((self._api_url or f"https://{host}") + path)
        if certificate is None or not _in_force(certificate, self._clock()):
            raise VerificationFailed
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise VerificationFailed
        return key

    async def _get(self, url: str) -> x509.Certificate:
        answer = await self._api.exchange("GET", url)
        if answer.status == _MISSING:
            raise VerificationFailed
        if not answer.ok:
            raise ProviderUnavailable
        try:
            certificate = x509.load_pem_x509_certificate(answer.body)
        except ValueError:
            raise ProviderUnavailable from None
        if _SIGNER not in _names(certificate):
            raise VerificationFailed
        return certificate


def _in_force(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _names(certificate: x509.Certificate) -> set[str]:
    return {str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
