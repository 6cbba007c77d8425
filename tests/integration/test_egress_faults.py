"""The guarded client against servers that misbehave in every known way."""

import asyncio
import os
import resource
import socket
import zlib

import pytest
from aiohttp.test_utils import unused_port

from channels.egress import EgressTimeouts
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
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
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
        ("an endless reason", endlessly(b"HTTP/1.1 200 ", b"x" * 1000), {FaultClass.PROTOCOL}),
        ("headers without end or colon", endlessly(HEADERS, b"A"), {FaultClass.PROTOCOL}),
        ("a flood of interim answers", endlessly(b"", CONTINUE * 500), {FaultClass.PROTOCOL}),
        ("a flood of early hints", endlessly(b"", HINTS * 100), {FaultClass.PROTOCOL}),
        ("a great version", says(b"HTTP/9.9 200 OK\r\n\r\n"), {FaultClass.PROTOCOL}),
        ("a great status", says(b"HTTP/1.1 99999 OK\r\n\r\n"), {FaultClass.PROTOCOL}),
        ("a negative status", says(b"HTTP/1.1 -20 OK\r\n\r\n"), {FaultClass.PROTOCOL}),
        ("a radio", says(b"ICY 200 OK\r\n\r\n"), {FaultClass.PROTOCOL}),
        ("TLS where none is", says(bytes.fromhex("15030300020228")), {FaultClass.PROTOCOL}),
        ("NUL in a header", says(HEADERS + b"A: b\0c\r\n\r\n"), {FaultClass.PROTOCOL}),
        ("a header without a colon", says(HEADERS + b"A\r\n\r\n"), {FaultClass.PROTOCOL}),
        ("a length with a sign", says(HEADERS + b"Content-Length: +2\r\n\r\nok"), {FaultClass.PROTOCOL}),
        ("a length below 0", says(HEADERS + b"Content-Length: -2\r\n\r\nok"), {FaultClass.PROTOCOL}),
        ("a length past numbers", says(HEADERS + b"Content-Length: " + b"9" * 40), {FaultClass.PROTOCOL}),
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
        (says(CHUNKED + b"zz\r\n"), b""),
        (says(CONTINUE + CHUNKED + b"5\r\nshort\r\nzz\r\n"), b"short"),
    ],
    ids=[
        "in drops",
        "endless trailers",
        "a length that lies",
        "a reset",
        "compressed",
        "a broken chunk with the head",
        "a broken chunk after an interim answer",
    ],
)
async def test_a_status_is_an_answer_whatever_becomes_of_its_body(behave, begun):
    async with Server(behave) as server, client() as egress:
        answer = await egress.post(server.url(), {}, b"{}", timeouts=QUICK)
        again = await egress.post(server.url(), {}, b"{}", timeouts=QUICK)

    assert (answer.status, answer.truncated) == (200, True)
    assert answer.body.startswith(begun)
    assert again.status == 200
    assert server.connections == 2, "a connection that broke off is not used again"


@pytest.mark.parametrize("said", [CHUNKED + b"zz\r\n", CHUNKED + b"5\r\nshort\r\nzz\r\n"])
async def test_the_rest_of_a_body_that_breaks_is_not_waited_for(said):
    patient = EgressTimeouts(total=60, connect=1)
    async with Server(says(said)) as server, client() as egress, asyncio.timeout(5):
        answer = await egress.post(server.url(), {}, b"{}", timeouts=patient)

    assert (answer.status, answer.truncated) == (200, True)


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", 204, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\nok", 204, b""),
        (HEADERS + b"Content-Length: 2\r\n\r\nok and more", 200, b"ok"),
        (HEADERS + b"Content-Length: 0\r\n\r\nok", 200, b""),
    ],
)
async def test_a_status_is_an_answer_whatever_follows_the_answer(said, status, body):
    async with Server(says(said)) as server, client() as egress:
        answers = [await egress.post(server.url(), {}, b"{}", timeouts=QUICK) for _ in range(2)]

    assert [(answer.status, answer.body) for answer in answers] == [(status, body)] * 2
    assert server.connections == 2, "a connection with bytes that nobody waits for is not used again"


@pytest.mark.parametrize(
    ("first", "part"),
    [
        (CHUNKED + b"0\r\n", b"A: " + b"b" * 4000 + b"\r\n"),
        (CHUNKED, b"1;" + b"x" * 4000 + b"\r\nx\r\n"),
        (HEADERS + b"\r\n", b"x" * 4096),
        (HEADERS + b"Content-Length: 99999999999\r\n\r\n", b"x" * 4096),
    ],
    ids=["trailers", "chunks of one byte", "a body without a length", "a body of a great length"],
)
async def test_an_answer_without_an_end_is_left_after_so_many_bytes(first, part):
    """Long before the time is up, at whatever pace they come."""
    async with Server(endlessly(first, part)) as server, client(body_cap=10_000) as egress:
        answer = await egress.post(server.url(), {}, b"{}")

    assert (answer.status, answer.truncated) == (200, True)
    assert len(answer.body) <= 10_000
    assert server.sent < 16 * 2**20, "what the sockets between us hold, and some more"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "unheard-of"])
async def test_what_is_compressed_is_not_opened(encoding):
    packed = zlib.compress(bytes(50_000_000), wbits=31 if "gzip" in encoding else 15)
    head = HEADERS + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (encoding.encode(), len(packed))
    async with Server(says(head, packed)) as server, client(body_cap=10_000) as egress:
        answer = await egress.post(server.url(), {}, b"{}")

    assert (answer.body, answer.truncated) == (packed[:10_000], True)


# answers that nobody asked for


@pytest.mark.parametrize(
    "unasked",
    [
        b"HTTP/1.1 202 Stale\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2",
        b"\r\n",
        b"HTTP/1.1 408 Idle\r\n\r\n",
    ],
    ids=["an answer", "half an answer", "an empty line", "a farewell"],
)
async def test_what_comes_on_an_idle_connection_answers_nothing(unasked):
    go, gone = asyncio.Event(), asyncio.Event()

    async def behave(server, reader, writer):
        await head_of(server, reader)
        await reader.readexactly(2)
        writer.write(HEADERS + b"Content-Length: 5\r\n\r\nright")
        await go.wait()
        writer.write(unasked)
        await reader.read()  # until the client has hung up
        gone.set()

    async with Server(behave) as server, client() as egress:
        await egress.post(server.url(), {}, b"{}", timeouts=QUICK)
        go.set()
        await gone.wait()
        answer = await egress.post(server.url(), {}, b"{}", timeouts=QUICK)

    assert (answer.status, answer.body, server.connections) == (200, b"right", 2)


async def test_the_second_answer_of_two_answers_nothing():
    stale = b"HTTP/1.1 202 Stale\r\nContent-Length: 0\r\n\r\n"
    async with (
        Server(says(HEADERS + b"Content-Length: 5\r\n\r\nright" + stale)) as server,
        client() as egress,
    ):
        answers = [await egress.post(server.url(), {}, b"{}", timeouts=QUICK) for _ in range(2)]

    assert [(answer.status, answer.body) for answer in answers] == [(200, b"right")] * 2
    assert server.connections == 2


# shortages of our own


async def test_who_waits_for_a_connection_in_vain_is_charged_for_nothing():
    async with Server(silent) as server, client(connections=1) as egress:
        errors = await asyncio.gather(
            *(egress.post(server.url(), {}, b"{}", timeouts=QUICK) for _ in range(2)), return_exceptions=True
        )

    assert [getattr(error, "error_class", None) for error in errors] == [
        FaultClass.TIMEOUT,
        FaultClass.DEFERRED,
    ]


async def test_a_machine_without_file_descriptors_charges_nobody():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Server(says(OK)) as server, client() as egress:
        next_free = os.dup(0)
        os.close(next_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
        try:
            with pytest.raises(DeliveryFault) as caught:
                await egress.post(server.url(), {}, b"{}", timeouts=QUICK)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        answer = await egress.post(server.url(), {}, b"{}", timeouts=QUICK)

    assert caught.value.error_class is FaultClass.DEFERRED
    assert answer.status == 200


async def test_what_is_idempotent_is_not_repeated_either():
    async def once(server, reader, writer):
        await head_of(server, reader)
        writer.write(HEADERS + b"Content-Length: 0\r\n\r\n")
        await head_of(server, reader)  # and then hangs up

    async with Server(once) as server, client() as egress:
        await egress.request("GET", server.url(), headers={}, timeouts=QUICK)
        with pytest.raises(DeliveryFault) as caught:
            await egress.request("GET", server.url(), headers={}, timeouts=QUICK)

    assert caught.value.error_class is FaultClass.RESET
    assert server.received.count(b"GET ") == 2


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
    """A server context for hook.example.test, and a maker of client contexts that trust it."""
    return tls_contexts("hook.example.test", tmp_path_factory.mktemp("tls"))


async def test_https_with_the_right_name(certificate):
    server_tls, trusting = certificate
    names = Names(hook_example_test=[["127.0.0.1"]])
    async with (
        Server(says(OK), tls=server_tls) as server,
        client(resolver=names, trust=trusting) as egress,
    ):
        assert (await egress.post(server.url("https", "hook.example.test"), {}, b"{}")).status == 200


async def test_a_certificate_for_another_host(certificate):
    server_tls, trusting = certificate
    names = Names(other_example_test=[["127.0.0.1"]])
    async with Server(says(OK), tls=server_tls) as server:
        found = await fault(server, scheme="https", host="other.example.test", resolver=names, trust=trusting)

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


async def test_a_handshake_in_drops():
    async def drip(server, reader, writer):
        await reader.read(1)
        writer.write(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # a server's hello of 16 KiB
        while True:
            writer.write(b"\0")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with Server(drip) as server:
        assert await fault(server, scheme="https") is FaultClass.TIMEOUT


@pytest.mark.parametrize(("starts", "ends"), [(-2, -1), (1, 2)], ids=["expired", "not yet valid"])
async def test_a_certificate_out_of_its_time(tmp_path, starts, ends):
    server_tls, trusting = tls_contexts("hook.example.test", tmp_path, starts=starts, ends=ends)
    options = {"resolver": Names(hook_example_test=[["127.0.0.1"]]), "trust": trusting}
    async with Server(says(OK), tls=server_tls) as server:
        assert await fault(server, scheme="https", host="hook.example.test", **options) is FaultClass.TLS


async def test_the_systems_resolver():
    resolver = PoolResolver()
    found = await resolver.resolve("localhost", 443, socket.AF_UNSPEC)
    with pytest.raises(OSError, match=r".+"):
        await resolver.resolve("nowhere.invalid", 443)
    await resolver.close()

    assert {answer["host"] for answer in found} <= {"127.0.0.1", "::1"}
    assert found
