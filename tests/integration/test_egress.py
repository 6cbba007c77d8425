"""The guarded client: a canary on loopback that nothing may reach, and servers that misbehave."""

import asyncio
import gzip
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver
from aiohttp.test_utils import unused_port
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from channels.egress import EgressClient, EgressTimeouts
from channels.errors import DeliveryFault, EgressBlocked, FaultClass, HeaderNotAllowed, UrlNotAllowed
from channels.networks import AddressPolicy, networks_of
from channels.resolving import PoolResolver

LOOPBACK = networks_of(["127.0.0.0/8", "::1/128"])
QUICK = EgressTimeouts(total=0.4, connect=0.3)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
PUBLIC = "93.184.215.14"


class Names(AbstractResolver):
    """A resolver with scripted answers: a list of address lists, the last of them for ever."""

    def __init__(self, **names):
        self.names = {name.replace("_", "."): list(answers) for name, answers in names.items()}
        self.asked = 0

    async def resolve(self, host, port=0, family=socket.AF_INET):  # noqa: ARG002 - the base's signature
        self.asked += 1
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


# what may not be reached

LITERALS = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fec0::1]",
    "[fd00:ec2::254]",
    "10.0.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.168.1.1",
]
FORMS = [
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "0x7f000001",
    "0x7f.0.0.1",
    "127.0.0.1.",
    "0",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "\uff11\uff12\uff17.0.0.1",
    "localhost",
    "localhost.",
    "a.localhost",
    "metadata.google.internal",
    "printer.local",
    "good@127.0.0.1",
    "user:pw@127.0.0.1",
    "127.0.0.1%2f",
    "[fe80::1%25lo]",
    "[::1%25lo]",
]


@pytest.mark.parametrize("host", LITERALS + FORMS)
async def test_no_form_of_a_private_host_is_dialled(host):
    async with Server(says(OK)) as canary, client(allow=()) as egress:
        for scheme in ("http", "https"):
            url = canary.url(scheme, host)
            with pytest.raises(EgressBlocked) as caught:
                await egress.post(url, {}, b"{}", timeouts=QUICK)
            with pytest.raises(UrlNotAllowed):
                await egress.check_url(url)

            assert str(caught.value) == "The target address may not be reached from here."
    assert canary.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        ["::ffff:127.0.0.1"],
        ["fe80::1%lo"],
    ],
    ids=", ".join,
)
async def test_a_name_with_a_private_answer_is_refused_whole(addresses):
    names = Names(hook_example_test=[addresses])
    async with Server(says(OK)) as canary, client(allow=(), resolver=names) as egress:
        url = canary.url("https", "hook.example.test")
        for _ in range(2):
            with pytest.raises(EgressBlocked):
                await egress.post(url, {}, b"{}", timeouts=QUICK)
        with pytest.raises(UrlNotAllowed):
            await egress.check_url(url)

    assert canary.connections == 0


async def test_rebinding_between_registration_and_send():
    names = Names(hook_example_test=[[PUBLIC], ["127.0.0.1"]])
    async with Server(says(OK)) as canary, client(allow=(), resolver=names) as egress:
        url = canary.url("https", "hook.example.test")
        await egress.check_url(url)
        with pytest.raises(EgressBlocked):
            await egress.post(url, {}, b"{}", timeouts=QUICK)

    assert canary.connections == 0


async def test_a_redirect_is_an_answer_and_is_not_followed():
    async with Server(says(OK)) as canary:
        location = canary.url().encode()
        for status in (301, 302, 303, 307, 308):
            redirect = b"HTTP/1.1 %d Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, location)
            async with Server(says(redirect)) as server, client() as egress:
                answer = await egress.post(server.url(), {}, b"{}")
                assert answer.status == status

        assert canary.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async with Server(says(OK)) as canary, Server(says(OK)) as server, client() as egress:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, canary.url(path=""))
        assert (await egress.post(server.url(), {}, b"{}")).status == 200

    assert canary.connections == 0


async def test_plain_http_reaches_the_allow_list_only():
    names = Names(hook_example_test=[[PUBLIC]], inside=[["127.0.0.1"]], gone_internal=[["10.1.1.1"]])
    async with Server(says(OK)) as server, client(resolver=names) as egress:
        with pytest.raises(EgressBlocked):
            await egress.post("http://hook.example.test/x", {}, b"{}", timeouts=QUICK)
        with pytest.raises(UrlNotAllowed):
            await egress.check_url("http://hook.example.test/x")
        for inner_name in ("gone.internal", "never-heard-of.internal"):
            with pytest.raises(EgressBlocked):
                await egress.post(server.url("https", inner_name), {}, b"{}", timeouts=QUICK)
        await egress.check_url(server.url("http", "inside"))
        assert (await egress.post(server.url("http", "inside"), {}, b"{}")).address == "127.0.0.1"


# registration


@pytest.mark.parametrize(
    "url",
    [
        "https://hook.example.test/a?b=c",
        "https://hook.example.test:8443/",
        "HTTPS://Hook.Example.Test",
        "https://bücher.example.test/x",
        "https://93.184.215.14/x",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/x",
        "https://does-not-resolve.example.test/",
        "https://a_b.example.test/",
    ],
)
async def test_urls_that_may_be_registered(url):
    known = {"hook_example_test": [[PUBLIC]]}
    async with client(allow=(), resolver=Names(**known)) as egress:
        await egress.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook.example.test",
        "//hook.example.test",
        "ftp://hook.example.test",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://hook.example.test/#part",
        "https://u@hook.example.test/",
        "https://hook.example.test#@evil.test/",
        "https://evil.test\\@hook.example.test/",
        "https://hook.exa\tmple.test/",
        "https://hook.example.test/\nx",
        "https://hook.example.test/a b",
        " https://hook.example.test/",
        "https://hook.example.test%2f.evil.test/",
        "https://hook.example.test:22/",
        "https://hook.example.test:25/",
        "https://hook.example.test:0/",
        "https://hook.example.test:6379/",
        "https://hook.example.test:99999/",
        "https://hook.example.test:x/",
        "https://hook.example.test./",
        "https://hook..test/",
        "https://-hook.test/",
        "https://" + "a" * 64 + ".test/",
        "https://" + ".".join(["abcdefgh"] * 32) + ".test/",
        "https://hook.example.test/" + "x" * 2048,
        "https://[::1/",
        "https://[nonsense]/",
        "https://1.2.3/",
        "https://1.2.3.4.5/",
        "https://256.1.1.1/",
        "https://x.0x7f/",
    ],
)
async def test_urls_that_may_not_be_registered(url):
    async with client(resolver=Names()) as egress:
        with pytest.raises(UrlNotAllowed) as caught:
            await egress.check_url(url)
        with pytest.raises(EgressBlocked):
            await egress.post(url, {}, b"", timeouts=QUICK)

    assert caught.value.code == "url_not_allowed"
    assert not url or url not in str(caught.value)


async def test_the_allow_list_is_the_deployments():
    async with client() as egress:
        await egress.check_url(f"http://127.0.0.1:{unused_port()}/hook")
        await egress.check_url(f"https://[::1]:{unused_port()}/hook")
        with pytest.raises(UrlNotAllowed):
            await egress.check_url("https://10.0.0.1/")


# answers


async def test_an_answer_with_all_that_is_kept_of_it():
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"
    async with Server(says(answer)) as server, client() as egress:
        response = await egress.post(server.url(), {"webhook-id": "evt_1"}, b'{"a":1}')

    assert (response.status, response.body, response.truncated) == (503, b"busy", False)
    assert response.headers["retry-after"] == "7"
    assert response.address == "127.0.0.1"
    assert 0 <= response.timings.connect <= response.timings.first_byte <= response.timings.total
    assert b"POST /hook HTTP/1.1\r\n" in server.received
    assert b"webhook-id: evt_1\r\n" in server.received
    assert b"Accept-Encoding: identity\r\n" in server.received
    assert b"busy" not in repr(response).encode()


async def test_connections_are_used_again():
    async def twice(server, reader, writer):
        for _ in range(2):
            await head_of(server, reader)
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with Server(twice) as server, client() as egress:
        for _ in range(2):
            assert (await egress.post(server.url(), {}, b"{}")).address == "127.0.0.1"

    assert server.connections == 1


async def test_cookies_are_not_kept():
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: tenant=a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    names = Names(inside=[["127.0.0.1"]])
    async with Server(says(cookie)) as server, client(resolver=names) as egress:
        for _ in range(2):
            await egress.post(server.url(host="inside"), {}, b"{}")

    assert b"cookie" not in server.received.lower()


async def test_a_gzip_bomb_is_not_opened():
    bomb = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with Server(says(head, bomb)) as server, client() as egress:
        response = await egress.post(server.url(), {}, b"{}")

    assert response.body == bomb[: 64 * 1024]


async def test_an_endless_body_is_cut():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    async with Server(endlessly(head, chunk)) as server, client(body_cap=10_000) as egress:
        response = await egress.post(server.url(), {}, b"{}")

    assert response.truncated
    assert response.body == b"x" * 10_000


async def test_a_body_of_the_cap_is_whole():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"y" * 100
    async with Server(says(answer)) as server, client(body_cap=100) as egress:
        response = await egress.post(server.url(), {}, b"{}")

    assert (len(response.body), response.truncated) == (100, False)


# faults

HEADERS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("label", "behave", "expected"),
    [
        ("nothing is said", silent, {FaultClass.TIMEOUT}),
        ("a body in drops", endlessly(HEADERS + b"\r\n", b"x", 0.05), {FaultClass.TIMEOUT}),
        ("a status line in drops", endlessly(b"", b"H", 0.05), {FaultClass.TIMEOUT, FaultClass.PROTOCOL}),
        ("endless headers", endlessly(HEADERS, b"A: b\r\n"), {FaultClass.PROTOCOL}),
        ("one endless header", endlessly(HEADERS + b"A: ", b"b" * 1000), {FaultClass.PROTOCOL}),
        (
            "endless interim answers",
            endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
            {FaultClass.TIMEOUT},
        ),
        (
            "endless trailers",
            endlessly(CHUNKED + b"0\r\n", b"A: b\r\n", 0.0001),
            {FaultClass.TIMEOUT, FaultClass.PROTOCOL},
        ),
        (
            "another protocol",
            says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
            {FaultClass.PROTOCOL},
        ),
        ("no HTTP at all", says(b"<html>hello</html>"), {FaultClass.PROTOCOL}),
        ("a closed connection", says(), {FaultClass.RESET}),
        ("a length that lies", says(HEADERS + b"Content-Length: 100\r\n\r\nshort"), {FaultClass.PROTOCOL}),
        (
            "two lengths",
            says(HEADERS + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            {FaultClass.PROTOCOL},
        ),
        ("a broken chunk", says(CHUNKED + b"zz\r\n"), {FaultClass.PROTOCOL}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_server_that_misbehaves(label, behave, expected):
    async with Server(behave) as server:
        found = await fault(server)

    assert found in expected, label


async def test_a_closed_port():
    async with client() as egress:
        with pytest.raises(DeliveryFault) as caught:
            await egress.post(f"http://127.0.0.1:{unused_port()}/", {}, b"{}", timeouts=QUICK)

    assert caught.value.error_class is FaultClass.REFUSED
    assert str(caught.value) == "The other side gave no usable answer: refused."


async def test_a_name_that_does_not_resolve():
    async with Server(says(OK)) as server:
        assert (
            await fault(server, scheme="https", host="hook.example.test", resolver=Names()) is FaultClass.DNS
        )


async def test_a_reset():
    async def reset(server, reader, writer):
        await head_of(server, reader)
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with Server(reset) as server:
        assert await fault(server) is FaultClass.RESET


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "b\r\nX-C: d"},
        {"X-A\r\nX-C": "d"},
        {"X-A": "b\x00"},
        {"X A": "b"},
        {"": "b"},
        {"X-A": "☃"},
        {"Host": "metadata.google.internal"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "upgrade"},
        {"Proxy-Authorization": "x"},
        {"X-Long": "x" * 5000},
    ],
)
async def test_headers_that_split_or_frame_are_refused(headers):
    async with Server(says(OK)) as server, client() as egress:
        with pytest.raises(HeaderNotAllowed):
            await egress.post(server.url(), headers, b"{}")

    assert server.connections == 0


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A server context for hook.example.test, and a client context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.example.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hook.example.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(key.private_bytes(*plain) + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain)
    trusting = ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())
    return server, trusting


async def test_https_with_the_right_name(certificate):
    server_tls, trusting = certificate
    names = Names(hook_example_test=[["127.0.0.1"]])
    async with (
        Server(says(OK), tls=server_tls) as server,
        client(resolver=names, ssl_context=trusting) as egress,
    ):
        assert (await egress.post(server.url("https", "hook.example.test"), {}, b"{}")).status == 200


async def test_a_certificate_for_another_host(certificate):
    server_tls, trusting = certificate
    names = Names(other_example_test=[["127.0.0.1"]])
    async with Server(says(OK), tls=server_tls) as server:
        found = await fault(
            server, scheme="https", host="other.example.test", resolver=names, ssl_context=trusting
        )

    assert found is FaultClass.TLS


async def test_a_certificate_that_nobody_vouches_for(certificate):
    server_tls, _ = certificate
    names = Names(hook_example_test=[["127.0.0.1"]])
    async with Server(says(OK), tls=server_tls) as server:
        assert await fault(server, scheme="https", host="hook.example.test", resolver=names) is FaultClass.TLS


async def test_a_server_without_tls():
    async def greet(server, reader, writer):
        writer.write(b"220 mail.example.test ESMTP\r\n")
        server.received += await reader.read(1)

    async with Server(greet) as server:
        assert await fault(server, scheme="https") is FaultClass.TLS


async def test_a_handshake_that_never_ends():
    async with Server(silent) as server:
        assert await fault(server, scheme="https") is FaultClass.TIMEOUT


async def test_the_systems_resolver():
    resolver = PoolResolver()
    found = await resolver.resolve("localhost", 443, socket.AF_UNSPEC)
    with pytest.raises(OSError, match=r".+"):
        await resolver.resolve("nowhere.invalid", 443)
    await resolver.close()

    assert {answer["host"] for answer in found} <= {"127.0.0.1", "::1"}
    assert found


# the policy as a table


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        (PUBLIC, True),
        ("8.8.8.8", True),
        ("2606:2800:21f:cb07::1", True),
        ("::ffff:8.8.8.8", True),
        ("0.1.2.3", False),
        ("100.127.255.255", False),
        ("172.31.255.255", False),
        ("172.32.0.1", True),
        ("192.0.0.9", False),
        ("192.88.99.1", False),
        ("198.19.255.255", False),
        ("203.0.113.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("64:ff9b:1::1", False),
        ("100::1", False),
        ("100:0:0:1::1", False),
        ("2001:2::1", False),
        ("2001:20::1", False),
        ("2001:db8::1", False),
        ("2001:4860:4860::8888", True),
        ("2002:808:808::1", False),
        ("2606:2800::5efe:7f00:1", False),
        ("2606:2800::200:5efe:a00:1", False),
        ("2606:2800::5efe:808:808", True),
        ("3fff::1", False),
        ("5f00::1", False),
        ("fc00::1", False),
        ("fe80::1%lo", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_which_addresses_may_be_dialled(address, permitted):
    assert AddressPolicy().permits(address) is permitted
    assert not AddressPolicy(LOOPBACK).permits(address, listed_only=True)


def test_the_allow_list_holds_for_mapped_addresses_too():
    policy = AddressPolicy(networks_of(["10.1.0.0/16", "fd00::1"]))

    assert policy.permits("10.1.2.3", listed_only=True)
    assert policy.permits("::ffff:10.1.2.3", listed_only=True)
    assert policy.permits("fd00::1")
    assert not policy.permits("10.2.0.1")
    assert ip_address("10.1.2.3").is_private
