"""Files from addresses of others: what comes of each answer, where credentials go, and what is never reached."""

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from channels.downloads import MOST_REDIRECTS, DownloadClient, DownloadLimits, set_by_operator
from channels.errors import (
    BadCredentials,
    ContentRefused,
    DeliveryFault,
    EgressBlocked,
    FaultClass,
    NotThere,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.provider_urls import ProviderUrls
from tests.integration.egress_stage import LOOPBACK, Server, client, endlessly, says, silent

CAP = 64 * 1024
HERE = (ip_network("127.0.0.1/32"),)  # of loopback only this one may be reached
SECRET = {"Authorization": "Basic c2lkOnRva2Vu"}


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = (f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


FILE = answer("200 OK", "Content-Type: image/png", body=b"\x89PNG-file")
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\n"


def to(url: str, status: str = "307 Temporary Redirect") -> bytes:
    return answer(status, f"Location: {url}")


@asynccontextmanager
async def downloading(allow=LOOPBACK, trusted=(), total: float = 5.0):
    async with client(allow=allow) as egress:
        downloads = DownloadClient(egress, trusted, DownloadLimits(CAP, total))
        try:
            yield downloads
        finally:
            await downloads.aclose()


async def test_a_file_comes_with_what_was_said_of_it():
    async with Server(says(FILE)) as server, downloading() as client_:
        found = await client_.from_provider("tenant").get(server.url(), SECRET)

    assert (found.content, found.content_type) == (b"\x89PNG-file", "image/png")
    assert SECRET["Authorization"].encode() in server.received


@pytest.mark.parametrize("trusted", [False, True], ids=["guarded", "trusted"])
@pytest.mark.parametrize(
    ("says_", "raised"),
    [
        (answer("404 Not Found"), NotThere),
        (answer("410 Gone"), NotThere),
        (answer("401 Unauthorized"), BadCredentials),
        (answer("403 Forbidden"), BadCredentials),
        (answer("400 Bad Request"), ContentRefused),
        (answer("304 Not Modified"), ContentRefused),
        (answer("429 Too Many Requests", "Retry-After: 7"), Throttled),
        (answer("500 Internal Server Error"), ProviderUnavailable),
        (answer("503 Service Unavailable", "Retry-After: 7"), ProviderUnavailable),
        (answer("302 Found"), DeliveryFault),  # without a Location
        (answer("200 OK", body=b"x" * (CAP + 1)), TooLarge),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbroken off", DeliveryFault),
        (b"not HTTP at all\r\n\r\n", DeliveryFault),
    ],
    ids=lambda value: value[:30].decode() if isinstance(value, bytes) else value.__name__,
)
async def test_every_other_answer_is_an_error_of_its_type(says_, raised, trusted):
    async with Server(says(says_)) as server, downloading(trusted=[server.url(path="")] * trusted) as client_:
        with pytest.raises(raised) as caught:
            await client_.from_provider("tenant").get(server.url())

    expected = 7 if b"Retry-After" in says_ else None
    assert getattr(caught.value, "retry_after", None) == expected


async def test_a_file_of_exactly_the_cap_is_taken():
    async with Server(says(answer("200 OK", body=b"x" * CAP))) as server, downloading() as client_:
        found = await client_.from_provider("tenant").get(server.url())

    assert len(found.content) == CAP


@pytest.mark.parametrize("trusted", [False, True], ids=["guarded", "trusted"])
async def test_an_endless_body_is_cut_at_the_cap(trusted):
    async with (
        Server(endlessly(ENDLESS, b"x" * 4096)) as server,
        downloading(trusted=[server.url(path="")] * trusted) as client_,
    ):
        with pytest.raises(TooLarge):
            await client_.from_provider("tenant").get(server.url())


@pytest.mark.parametrize("trusted", [False, True], ids=["guarded", "trusted"])
async def test_who_never_answers_is_given_up_after_the_whole_time(trusted):
    async with (
        Server(silent) as server,
        downloading(total=0.2, trusted=[server.url(path="")] * trusted) as client_,
    ):
        with pytest.raises(DeliveryFault) as caught:
            await client_.from_provider("tenant").get(server.url())

    assert caught.value.error_class is FaultClass.TIMEOUT


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
async def test_credentials_stay_at_their_origin(status):
    async with (
        Server(says(FILE)) as canary,
        Server(says(to(canary.url(path="/cdn"), status))) as provider,
        downloading() as client_,
    ):
        found = await client_.from_provider("tenant").get(provider.url(), {**SECRET, "X-Token": "secret"})

    assert found.content == b"\x89PNG-file"
    assert b"Authorization" in provider.received
    assert b"GET /cdn" in canary.received
    assert b"uthorization" not in canary.received
    assert b"secret" not in canary.received


async def test_credentials_that_were_left_behind_do_not_come_back():
    """The second origin chose the address of the third request, so that it is no longer the provider's."""
    provider = Server(lambda *_: asyncio.sleep(0))
    async with provider, Server(lambda *_: asyncio.sleep(0)) as elsewhere, downloading() as client_:
        first = says(to(elsewhere.url()))
        elsewhere.behave = says(to(provider.url(path="/chosen-by-others")))

        async def behave(server, reader, writer):
            await (says(FILE) if server.connections > 1 else first)(server, reader, writer)

        provider.behave = behave
        await client_.from_provider("tenant").get(provider.url(), SECRET)

    first_request, _, second_request = provider.received.partition(b"GET /chosen-by-others")
    assert b"Authorization" in first_request
    assert second_request
    assert b"Authorization" not in second_request


async def test_credentials_follow_within_the_origin():
    async with Server(lambda *_: asyncio.sleep(0)) as provider, downloading() as client_:

        async def behave(server, reader, writer):
            redirect = says(to("/moved?a=b#part"))
            await (says(FILE) if server.connections > 1 else redirect)(server, reader, writer)

        provider.behave = behave
        await client_.from_provider("tenant").get(provider.url(), SECRET)

    assert provider.received.count(b"Authorization") == 2
    assert b"GET /moved?a=b HTTP" in provider.received


async def test_redirects_end():
    async with Server(lambda *_: asyncio.sleep(0)) as server, downloading() as client_:
        server.behave = says(to("/again"))
        with pytest.raises(DeliveryFault) as caught:
            await client_.from_provider("tenant").get(server.url())

    assert caught.value.error_class is FaultClass.PROTOCOL
    assert server.connections == MOST_REDIRECTS + 1


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "2130706434", "169.254.169.254"])
async def test_a_redirect_to_a_private_address_is_not_followed(host):
    async with (
        Server(says(FILE), host="127.0.0.2") as canary,
        Server(says(to(f"http://{host}:{canary.port}/"))) as server,
        downloading(allow=HERE) as client_,
    ):
        with pytest.raises(EgressBlocked):
            await client_.from_provider("tenant").get(server.url())

    assert canary.connections == 0


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://x.example/", "http://[", "//user@x.example/"]
)
async def test_a_redirect_to_what_is_no_web_address_is_not_followed(location):
    async with Server(says(to(location))) as server, downloading() as client_:
        with pytest.raises(EgressBlocked):
            await client_.from_provider("tenant").get(server.url())


async def test_what_the_operator_set_is_reached_though_private_and_by_the_adapter_only():
    async with (
        Server(says(FILE)) as stand_in,
        downloading(allow=(), trusted=[stand_in.url(path="/api")]) as client_,
    ):
        found = await client_.from_provider("tenant").get(stand_in.url(path="/api/media/1"))
        with pytest.raises(EgressBlocked):
            await client_.from_anywhere("tenant").get(stand_in.url(path="/api/media/1"))

    assert found.content == b"\x89PNG-file"
    assert stand_in.connections == 1


async def test_nobody_else_can_lead_to_what_the_operator_set():
    async with (
        Server(says(FILE), host="127.0.0.2") as stand_in,
        Server(says(to(stand_in.url(host="127.0.0.2")))) as elsewhere,
        downloading(allow=HERE, trusted=[stand_in.url(host="127.0.0.2", path="")]) as client_,
    ):
        with pytest.raises(EgressBlocked):
            await client_.from_provider("tenant").get(elsewhere.url())

    assert stand_in.connections == 0


async def test_a_trusted_origin_leads_others_to_judged_addresses_only():
    async with (
        Server(says(FILE), host="127.0.0.2") as canary,
        Server(says(to(canary.url(host="127.0.0.2")))) as stand_in,
        downloading(allow=(), trusted=[stand_in.url(path="")]) as client_,
    ):
        with pytest.raises(EgressBlocked):
            await client_.from_provider("tenant").get(stand_in.url())

    assert canary.connections == 0


def test_only_addresses_that_are_not_the_providers_own_are_the_operators():
    urls = ProviderUrls(twilio="http://127.0.0.1:9000", ses="http://127.0.0.1:9001/ses")

    assert set_by_operator(ProviderUrls()) == frozenset()
    assert set_by_operator(urls) == {"http://127.0.0.1:9000", "http://127.0.0.1:9001/ses"}
