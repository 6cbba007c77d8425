"""What a client shows of itself: to whom it belongs, and that it is nobody else's."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from channels.client_certificates import PEM_LIMIT, CertificateContexts, check_certificate
from channels.errors import DeliveryFault, FaultClass, InvalidInput
from channels.exchanges import ClientCertificate
from tests.integration.egress_stage import (
    QUICK,
    Names,
    Server,
    client,
    head_of,
    self_signed,
    tls_contexts,
)

NOW = datetime.now(UTC)


def certificate_of(name, **options):
    return ClientCertificate(*self_signed(name, **options))


A, B = certificate_of("a.example.test"), certificate_of("b.example.test")


class Bank(Server):
    """Wants to know who it deals with, for as long as a connection lasts; ``customers`` are those it was told, one list
    per connection.
    """

    def __init__(self, folder, *trusted, verify=ssl.CERT_REQUIRED):
        tls, self.trusting = tls_contexts("hook.example.test", folder)
        tls.verify_mode = verify
        for customer in trusted:
            tls.load_verify_locations(cadata=customer.chain)
        super().__init__(self.deal, tls)
        self.customers = []

    async def deal(self, _, reader, writer):
        shown = writer.get_extra_info("peercert") or {}
        asked = [name for ((_, name),) in shown.get("subject", ())]
        customers: list[str] = []
        self.customers.append(customers)
        while True:
            await head_of(self, reader)
            await reader.readexactly(2)
            customers += asked or ["nobody"]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def client(self):
        return client(resolver=Names(hook_example_test=[["127.0.0.1"]]), trust=self.trusting)

    async def is_asked(self, egress, party, certificate):
        url = self.url("https", "hook.example.test")
        answer = await egress.post(url, {}, b"{}", party=party, certificate=certificate, timeouts=QUICK)
        return answer.trace.reused


async def test_a_certificate_is_shown_and_its_connection_used_again(tmp_path):
    async with Bank(tmp_path, A) as bank, bank.client() as egress:
        reused = [await bank.is_asked(egress, "a", A) for _ in range(3)]

    assert reused == [False, True, True]
    assert bank.customers == [["a.example.test"] * 3]


async def test_one_tenants_connection_serves_no_other(tmp_path):
    async with Bank(tmp_path, A, B, verify=ssl.CERT_OPTIONAL) as bank, bank.client() as egress:
        for _ in range(2):
            await bank.is_asked(egress, "a", A)
            await bank.is_asked(egress, "b", B)
            await bank.is_asked(egress, "c", None)
            await bank.is_asked(egress, "d", A)  # who has the same certificate has a connection of its own

    assert bank.customers == [
        ["a.example.test"] * 2,
        ["b.example.test"] * 2,
        ["nobody"] * 2,
        ["a.example.test"] * 2,
    ]


async def test_a_certificate_that_was_renewed_is_shown_at_once(tmp_path):
    renewed = certificate_of("new.a.example.test")
    async with Bank(tmp_path, A, renewed) as bank, bank.client() as egress:
        await bank.is_asked(egress, "a", A)
        await bank.is_asked(egress, "a", renewed)

    assert bank.customers == [["a.example.test"], ["new.a.example.test"]]


def refuse(listening, tls):
    """Greets one client and says why it is refused, as OpenSSL does of itself and asyncio's servers do not."""
    connection, _ = listening.accept()
    with connection, pytest.raises(ssl.SSLError):
        tls.wrap_socket(connection, server_side=True)


@pytest.mark.parametrize("shown", [None, B], ids=["none", "another"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_who_shows_no_certificate_that_is_known_is_refused(tmp_path, shown, version):
    bank = Bank(tmp_path, A)
    bank.tls.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:
        bank.port = listening.getsockname()[1]
        refusal = asyncio.create_task(asyncio.to_thread(refuse, listening, bank.tls))
        async with bank.client() as egress:
            with pytest.raises(DeliveryFault) as caught:
                await bank.is_asked(egress, "b", shown)
        await refusal

    assert caught.value.error_class is FaultClass.TLS


async def test_the_servers_certificate_is_verified_all_the_same(tmp_path):
    async with Bank(tmp_path, A) as bank:
        bank.trusting = ssl.create_default_context
        async with bank.client() as egress:
            with pytest.raises(DeliveryFault) as caught:
                await bank.is_asked(egress, "a", A)

    assert caught.value.error_class is FaultClass.TLS


async def test_what_cannot_be_shown_is_an_input_error_when_posted_too(tmp_path):
    async with Bank(tmp_path, A) as bank, bank.client() as egress:
        for _ in range(2):
            with pytest.raises(InvalidInput) as caught:
                await bank.is_asked(egress, "a", ClientCertificate(A.chain, B.key))

    assert (caught.value.field, bank.connections) == ("certificate", 0)


async def test_so_many_contexts_are_kept_and_no_more(monkeypatch):
    monkeypatch.setattr("channels.client_certificates.MOST_CONTEXTS", 2)
    contexts = CertificateContexts(partial(ssl.create_default_context, cadata=A.chain))
    first = await contexts.of("a", A)
    await contexts.of("b", B)
    assert await contexts.of("a", A) is first

    await contexts.of("c", B)  # in place of b's, which was used less lately
    assert await contexts.of("a", A) is first

    await contexts.of("b", B)
    await contexts.of("c", B)
    assert await contexts.of("a", A) is not first


# registration


def encrypted(key):
    loaded = serialization.load_pem_private_key(key.encode(), None)
    secret = serialization.BestAvailableEncryption(b"passphrase")
    return loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret
    ).decode()


GOOD = {
    "EC": A,
    "Ed25519": certificate_of("a.example.test", key=ed25519.Ed25519PrivateKey.generate()),
    "RSA": certificate_of("a.example.test", key=rsa.generate_private_key(65537, 2048)),
    "P-384": certificate_of("a.example.test", key=ec.generate_private_key(ec.SECP384R1())),
    "a chain": ClientCertificate(A.chain + B.chain, A.key),
    "Windows line ends": ClientCertificate(A.chain.replace("\n", "\r\n"), A.key.replace("\n", "\r\n")),
    "no last line end": ClientCertificate(A.chain.strip(), A.key.strip()),
    "text around": ClientCertificate(f"subject=a\n{A.chain}\n", f"\n{A.key}\n"),
}
BAD = {
    "nothing": ClientCertificate("", ""),
    "no certificate": ClientCertificate("", A.key),
    "no key": ClientCertificate(A.chain, ""),
    "no PEM": ClientCertificate("certificate", "key"),
    "another's key": ClientCertificate(A.chain, B.key),
    "the issuer first": ClientCertificate(B.chain + A.chain, A.key),
    "a key with a passphrase": ClientCertificate(A.chain, encrypted(A.key)),
    "a broken certificate": ClientCertificate(A.chain.replace("MII", "MIX", 1).replace("A", "B", 9), A.key),
    "a broken key": ClientCertificate(A.chain, A.key[:60] + "????" + A.key[64:]),
    "NUL": ClientCertificate("\0" + A.chain[:30] + "\0", A.key),
    "a lone surrogate": ClientCertificate("\ud800" + A.chain, A.key),
    "too long": ClientCertificate(A.chain + " " * PEM_LIMIT, A.key),
    "weak": certificate_of("a.example.test", key=rsa.generate_private_key(65537, 1024)),
    "expired": certificate_of("a.example.test", starts=-2, ends=-1),
    "not yet valid": certificate_of("a.example.test", starts=1, ends=2),
}


@pytest.mark.parametrize("certificate", GOOD.values(), ids=GOOD)
def test_certificates_that_may_be_registered(certificate):
    check_certificate(certificate, NOW)


@pytest.mark.parametrize("certificate", BAD.values(), ids=BAD)
def test_certificates_that_may_not_be_registered(certificate):
    with pytest.raises(InvalidInput) as caught:
        check_certificate(certificate, NOW)

    assert (caught.value.code, caught.value.field) == ("invalid_field", "certificate")
    assert "BEGIN" not in str(caught.value)


def test_a_certificate_is_judged_by_the_time_that_is_given():
    with pytest.raises(InvalidInput):
        check_certificate(A, NOW + timedelta(days=2))


def test_no_certificate_prints():
    assert "BEGIN" not in repr(A)
