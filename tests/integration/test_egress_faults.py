"""The guarded client against servers that misbehave in every known way."""

import socket

import pytest
from aiohttp.test_utils import unused_port

from channels.errors import DeliveryFault, FaultClass, HeaderNotAllowed
from channels.resolving import PoolResolver
from tests.integration.egress_stage import (
    OK,
    QUICK,
    Names,
    Server,
    client,
    endlessly,
    fault,
    head_of,
    says,
    silent,
    tls_contexts,
)

# faults

HEADERS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("label", "behave", "expected"),
    [
        ("nothing is said", silent, {FaultClass.TIMEOUT}),
        ("a status line in drops", endlessly(b"", b"H", 0.05), {FaultClass.TIMEOUT, FaultClass.PROTOCOL}),
        ("endless headers", endlessly(HEADERS, b"A: b\r\n"), {FaultClass.PROTOCOL}),
        ("one endless header", endlessly(HEADERS + b"A: ", b"b" * 1000), {FaultClass.PROTOCOL}),
        (
            "endless interim answers",
            endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
            {FaultClass.TIMEOUT},
        ),
        (
            "another protocol",
            says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"),
            {FaultClass.PROTOCOL},
        ),
        ("no HTTP at all", says(b"<html>hello</html>"), {FaultClass.PROTOCOL}),
        ("a closed connection", says(), {FaultClass.RESET}),
        (
            "two lengths",
            says(HEADERS + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            {FaultClass.PROTOCOL},
        ),
        # Head and fault come as one, so there is no answer to be had.
        ("a broken chunk", says(CHUNKED + b"zz\r\n"), {FaultClass.PROTOCOL}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_server_that_misbehaves(label, behave, expected):
    async with Server(behave) as server:
        found = await fault(server)

    assert found in expected, label


async def reset(server, reader, writer):
    await head_of(server, reader)
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def begun_and_reset(server, reader, writer):
    writer.write(HEADERS + b"Content-Length: 100\r\n\r\nshort")
    await writer.drain()
    await reset(server, reader, writer)


@pytest.mark.parametrize(
    ("behave", "begun"),
    [
        (endlessly(HEADERS + b"\r\n", b"x", 0.05), b"x"),
        (endlessly(CHUNKED + b"0\r\n", b"A: b\r\n", 0.0001), b""),
        (says(HEADERS + b"Content-Length: 100\r\n\r\nshort"), b"short"),
        (begun_and_reset, b"short"),
        (says(HEADERS + b"Content-Encoding: gzip\r\nContent-Length: 100\r\n\r\nshort"), b"short"),
    ],
    ids=["in drops", "endless trailers", "a length that lies", "a reset", "compressed"],
)
async def test_a_status_is_an_answer_whatever_becomes_of_its_body(behave, begun):
    async with Server(behave) as server, client() as egress:
        answer = await egress.post(server.url(), {}, b"{}", timeouts=QUICK)
        again = await egress.post(server.url(), {}, b"{}", timeouts=QUICK)

    assert (answer.status, answer.truncated) == (200, True)
    assert answer.body.startswith(begun)
    assert again.status == 200
    assert server.connections == 2, "a connection that broke off is not used again"


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
        with pytest.raises(HeaderNotAllowed) as caught:
            await egress.post(server.url(), headers, b"{}")

    assert (caught.value.code, caught.value.field) == ("header_not_allowed", "headers")
    assert server.connections == 0


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A server context for hook.example.test, and a client context that trusts it."""
    return tls_contexts("hook.example.test", tmp_path_factory.mktemp("tls"))


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
