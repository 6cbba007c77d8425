"""What is known of an exchange afterwards, whether it was answered or not."""

import asyncio
import itertools
import ssl

import pytest
from aiohttp.test_utils import unused_port

from channels.errors import DeliveryFault, EgressBlocked, FaultClass, LookupsBusy
from channels.exchanges import ExchangeTrace
from channels.resolving import PARTY_LOOKUPS
from tests.integration.egress_stage import (
    OK,
    PUBLIC,
    QUICK,
    Names,
    Server,
    client,
    head_of,
    says,
    silent,
    tls_contexts,
)

PHASES = ("dns", "connect", "tls", "first_byte", "total")
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def ticking():
    """A clock that goes on by a second whenever it is read, so that no phase takes no time."""
    seconds = itertools.count()
    return lambda: float(next(seconds))


def phases(trace):
    """The phases that were reached, and a proof that they took time, one after the other."""
    times = {phase: getattr(trace, f"{phase}_ms") for phase in PHASES}
    reached = {phase: time for phase, time in times.items() if time is not None}
    assert all(time > 0 for time in reached.values())
    assert sum(reached.values()) - reached["total"] <= reached["total"]
    return tuple(reached)


async def keeps(server, reader, writer):
    while True:
        await head_of(server, reader)
        await reader.readexactly(2)
        writer.write(KEPT)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return tls_contexts("hook.example.test", tmp_path_factory.mktemp("tls"))


async def test_an_exchange_by_address():
    async with Server(says(OK)) as server, client(monotonic=ticking()) as egress:
        trace = (await egress.post(server.url(), {}, b"{}")).trace

    assert phases(trace) == ("connect", "first_byte", "total")
    assert (trace.address, trace.reused, trace.tls_version) == ("127.0.0.1", False, "")


async def test_an_exchange_by_name_over_tls_and_one_over_the_same_connection(certificate):
    server_tls, trusting = certificate
    names = Names(hook_example_test=[["127.0.0.1"]])
    async with (
        Server(keeps, tls=server_tls) as server,
        client(resolver=names, trust=trusting, monotonic=ticking()) as egress,
    ):
        url = server.url("https", "hook.example.test")
        first, second = [(await egress.post(url, {}, b"{}")).trace for _ in range(2)]

    assert phases(first) == ("dns", "connect", "tls", "first_byte", "total")
    assert phases(second) == ("dns", "first_byte", "total")
    assert (first.address, first.reused, first.tls_version) == ("127.0.0.1", False, "TLSv1.3")
    assert (second.address, second.reused, second.tls_version) == ("127.0.0.1", True, "TLSv1.3")


async def test_an_older_tls(tmp_path):
    server_tls, trusting = tls_contexts("hook.example.test", tmp_path)
    server_tls.maximum_version = ssl.TLSVersion.TLSv1_2
    names = Names(hook_example_test=[["127.0.0.1"]])
    async with (
        Server(says(OK), tls=server_tls) as server,
        client(resolver=names, trust=trusting) as egress,
    ):
        answer = await egress.post(server.url("https", "hook.example.test"), {}, b"{}")

    assert answer.trace.tls_version == "TLSv1.2"


async def test_the_handshake_is_no_part_of_the_dial():
    """The clock moves only while the server holds the handshake up: all of it is TLS."""
    now = [0.0]

    async def hold_up(server, reader, writer):
        await reader.read(1)
        now[0] += 3.0
        writer.write(b"no TLS")

    async with Server(hold_up) as server, client(monotonic=lambda: now[0]) as egress:
        with pytest.raises(DeliveryFault) as caught:
            await egress.post(server.url("https"), {}, b"{}", timeouts=QUICK)

    assert caught.value.error_class is FaultClass.TLS
    assert caught.value.trace == ExchangeTrace(
        address="127.0.0.1", connect_ms=0.0, tls_ms=3000.0, total_ms=3000.0
    )


async def test_the_first_byte_is_not_the_whole_answer():
    now, begun = [0.0], asyncio.Event()

    async def answer_in_two(server, reader, writer):
        await head_of(server, reader)
        now[0] += 2.0
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await begun.wait()
        now[0] += 5.0
        writer.write(b"Content-Length: 0\r\n\r\n")

    def clock():
        if now[0] > 0:
            begun.set()
        return now[0]

    async with Server(answer_in_two) as server, client(monotonic=clock) as egress:
        trace = (await egress.post(server.url(), {}, b"{}")).trace

    assert (trace.first_byte_ms, trace.total_ms) == (2000.0, 7000.0)


async def test_the_address_that_answered_is_told_after_others_were_tried():
    names = Names(inside=[["127.0.0.2", "::1", "127.0.0.1"]])
    async with Server(says(OK)) as server, client(resolver=names, monotonic=ticking()) as egress:
        trace = (await egress.post(server.url(host="inside"), {}, b"{}", timeouts=QUICK)).trace

    assert trace.address == "127.0.0.1"
    assert phases(trace) == ("dns", "connect", "first_byte", "total")


# faults


async def faulty(url, **options):
    async with client(monotonic=ticking(), **options) as egress:
        with pytest.raises((DeliveryFault, LookupsBusy)) as caught:
            await egress.post(url, {}, b"{}", timeouts=QUICK)
    trace: ExchangeTrace = getattr(caught.value, "trace", ExchangeTrace())
    return trace


@pytest.mark.parametrize(
    ("behave", "scheme", "reached"),
    [
        (silent, "http", ("connect", "first_byte", "total")),
        (says(), "http", ("connect", "first_byte", "total")),
        (says(b"no HTTP"), "http", ("connect", "first_byte", "total")),
        (silent, "https", ("connect", "tls", "total")),
    ],
    ids=["silent", "closed", "no HTTP", "silent before TLS"],
)
async def test_how_far_a_failed_exchange_came(behave, scheme, reached):
    async with Server(behave) as server:
        trace = await faulty(server.url(scheme))

    assert phases(trace) == reached
    assert (trace.address, trace.reused, trace.tls_version) == ("127.0.0.1", False, "")


async def test_a_closed_port():
    trace = await faulty(f"http://127.0.0.1:{unused_port()}/")

    assert phases(trace) == ("connect", "total")
    assert trace.address == "127.0.0.1"


async def test_a_certificate_for_another_host(certificate):
    server_tls, trusting = certificate
    names = Names(other_example_test=[["127.0.0.1"]])
    async with Server(says(OK), tls=server_tls) as server:
        url = server.url("https", "other.example.test")
        trace = await faulty(url, resolver=names, trust=trusting)

    assert phases(trace) == ("dns", "connect", "tls", "total")


async def test_a_name_that_does_not_resolve():
    trace = await faulty("https://hook.example.test/", resolver=Names())

    assert phases(trace) == ("dns", "total")
    assert trace.address == ""


async def test_a_lookup_that_could_not_begin():
    names = Names()
    names.hanging = {f"n{number}.example.test" for number in range(PARTY_LOOKUPS)}
    async with client(resolver=names, monotonic=ticking()) as egress:
        hanging = [
            asyncio.create_task(egress.post(f"https://{name}/", {}, b"{}", timeouts=QUICK))
            for name in sorted(names.hanging)
        ]
        await names.waiting(PARTY_LOOKUPS)
        with pytest.raises(LookupsBusy) as caught:
            await egress.post("https://one.more.example.test/", {}, b"{}", timeouts=QUICK)
        await asyncio.gather(*hanging, return_exceptions=True)

    assert phases(caught.value.trace) == ("dns", "total")


# nothing is told of what our own rules stopped: neither whether a port is open, nor whether anybody is there


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://user@hook.example.test/",
        "https://inside.example.test/",
        "https://both.example.test/",
        "https://gone.internal/",
        "https://hook.example.test:22/",
        "http://hook.example.test/",
    ],
)
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
async def test_a_blocked_exchange_leaves_no_trace(url, is_open):
    names = Names(
        inside_example_test=[["127.0.0.1"]],
        both_example_test=[[PUBLIC, "127.0.0.1"]],
        hook_example_test=[["127.0.0.1"]],
    )
    async with Server(says(OK)) as server, client((), resolver=names, monotonic=ticking()) as egress:
        port = server.port if is_open else unused_port()
        target = url if ":22" in url else url.rstrip("/") + f":{port}/"
        with pytest.raises(EgressBlocked) as caught:
            await egress.post(target, {}, b"{}", timeouts=QUICK)

    assert caught.value.trace == ExchangeTrace()
    assert server.connections == 0
