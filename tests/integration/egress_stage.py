"""Servers and names that the tests of the guarded client share."""

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network

import pytest
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from channels.egress import EgressClient, EgressTimeouts
from channels.errors import DeliveryFault

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
QUICK = EgressTimeouts(total=0.4, connect=0.3, lookup=0.3)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
PUBLIC = "93.184.215.14"


class Names(AbstractResolver):
    """A resolver with scripted answers: a list of address lists, the last of them for ever; ``hanging`` names get
    none, and nobody while ``open`` is not set.
    """

    def __init__(self, **names):
        self.names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked = 0
        self.hanging = set()
        self.open = asyncio.Event()
        self.open.set()
        self._changed = asyncio.Condition()

    async def waiting(self, count):
        """Returns once so many lookups were begun."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.asked >= count)

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        async with self._changed:
            self._changed.notify_all()
        await (asyncio.Event() if host in self.hanging else self.open).wait()
        answers = self.names.get(host)
        if answers is None:
            raise OSError(None, "no such name")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in addresses
        ]

    async def close(self):
        self.names.clear()


class Server:
    """A raw TCP server with one behaviour; counts connections and keeps what it was sent."""

    def __init__(self, behave, tls=None, host="127.0.0.1"):
        self.behave, self.tls, self.host = behave, tls, host
        self.connections = 0
        self.received = b""
        self.sent = 0

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            await self.behave(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.received += b""  # the client went first, as it should
        finally:
            writer.close()

    def url(self, scheme="http", host="127.0.0.1", path="/hook"):
        return f"{scheme}://{host}:{self.port}{path}"


class Canary(Server):
    """Nothing may come near it: on every address of this machine, IPv4 and IPv6, at one port."""

    def __init__(self):
        super().__init__(says(OK))

    async def __aenter__(self):
        await super().__aenter__()
        both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.server.close()
        self.server = await asyncio.start_server(self._serve, sock=both)
        self.port = both.getsockname()[1]
        return self


class Everywhere(Names):
    """A resolver for which every name is the same machine."""

    def __init__(self, *addresses):
        super().__init__()
        self.addresses = list(addresses)

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.names = {host: [self.addresses]}
        return await super().resolve(host, port, family)


async def head_of(server, reader):
    head = await reader.readuntil(b"\r\n\r\n")
    server.received += head
    return head


def says(*parts):
    async def behave(server, reader, writer):
        await head_of(server, reader)
        for part in parts:
            writer.write(part)
            await writer.drain()

    return behave


def endlessly(first, part, pause=0.0):
    async def behave(server, reader, writer):
        await head_of(server, reader)
        writer.write(first)
        while True:
            writer.write(part)
            await writer.drain()
            server.sent += len(part)
            await asyncio.sleep(pause)

    return behave


async def silent(server, reader, _):
    server.received += await reader.read()


@asynccontextmanager
async def client(allow=LOOPBACK, **options):
    egress = EgressClient(allow, **options)
    try:
        yield egress
    finally:
        await egress.aclose()


async def fault(server, *, scheme="http", host="127.0.0.1", timeouts=QUICK, **options):
    async with client(**options) as egress:
        with pytest.raises(DeliveryFault) as caught:
            await egress.post(server.url(scheme, host), {}, b"{}", timeouts=timeouts)
    return caught.value.error_class


PLAIN_PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def self_signed(name, *, key=None, starts=-1, ends=1):
    """A certificate for the name that vouches for itself, from and until so many days from now, and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=starts))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), key.private_bytes(*PLAIN_PEM).decode()


def tls_contexts(host, folder, **validity):
    """A server context with a certificate for the host, and a maker of client contexts that trust it."""
    certificate, key = self_signed(host, **validity)
    chain = folder / "server.pem"
    chain.write_text(key + certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    return server, partial(ssl.create_default_context, cadata=certificate)
