"""The guarded client: a canary on loopback that nothing may reach, and what comes back of an answer."""

import asyncio
import gzip
from ipaddress import ip_network

import pytest

from channels.errors import DeliveryFault, EgressBlocked, FaultClass, LookupsBusy, UrlNotAllowed
from channels.resolving import KEPT_SECONDS, PARTY_LOOKUPS
from tests.integration.egress_stage import OK, PUBLIC, QUICK, Names, Server, client, endlessly, head_of, says

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


async def test_a_denied_address_spoils_the_allowed_ones_beside_it():
    """Here the other address could be reached, and is not even dialled."""
    names = Names(inside=[["127.0.0.2", "127.0.0.1"]])
    async with (
        Server(says(OK), host="127.0.0.2") as canary,
        client(allow=(ip_network("127.0.0.2/32"),), resolver=names) as egress,
    ):
        with pytest.raises(EgressBlocked):
            await egress.post(canary.url("http", "inside"), {}, b"{}", timeouts=QUICK)

    assert canary.connections == 0


async def test_two_tenants_urls_of_one_name_are_judged_each_by_itself(monkeypatch):
    """Plain http is for the allow list alone, and says nothing about https to the same name at the same time."""
    monkeypatch.setattr("channels.networks.DENIED_V4", ())  # loopback plays the public internet
    names = Names(hook_example_test=[["127.0.0.1"]])
    elsewhere = (ip_network("10.0.0.0/8"),)

    async def greet(server, reader, writer):
        writer.write(b"220 mail.example.test ESMTP\r\n")
        server.received += await reader.read(1)

    async with Server(greet) as server, client(allow=elsewhere, resolver=names) as egress:
        names.open.clear()
        posts = [
            asyncio.create_task(
                egress.post(server.url(scheme, "hook.example.test"), {}, b"{}", timeouts=QUICK, party=party)
            )
            for party, scheme in (("a", "http"), ("b", "https"), ("a", "https"))
        ]
        await names.waiting(2)
        names.open.set()
        errors = await asyncio.gather(*posts, return_exceptions=True)

    assert [getattr(error, "error_class", None) for error in errors] == [
        FaultClass.EGRESS_BLOCKED,
        FaultClass.TLS,
        FaultClass.TLS,
    ]


async def test_rebinding_between_registration_and_send():
    names, now = Names(hook_example_test=[[PUBLIC], ["127.0.0.1"]]), iter((0.0, 0.0, KEPT_SECONDS))
    async with (
        Server(says(OK)) as canary,
        client(allow=(), resolver=names, monotonic=lambda: next(now, KEPT_SECONDS)) as egress,
    ):
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


# answers


async def test_an_answer_with_all_that_is_kept_of_it():
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"
    async with Server(says(answer)) as server, client() as egress:
        response = await egress.post(server.url(), {"webhook-id": "evt_1"}, b'{"a":1}')

    assert (response.status, response.body, response.truncated) == (503, b"busy", False)
    assert response.headers["retry-after"] == "7"
    assert response.address == "127.0.0.1"
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


async def test_the_next_address_is_tried():
    names = Names(inside=[["127.0.0.2", "::1", "127.0.0.1"]])
    async with Server(says(OK)) as server, client(resolver=names) as egress:
        response = await egress.post(server.url(host="inside"), {}, b"{}", timeouts=QUICK)

    assert response.address == "127.0.0.1"


async def test_a_lookup_serves_several_exchanges():
    names = Names(inside=[["127.0.0.1"]])
    async with Server(says(OK)) as server, client(resolver=names) as egress:
        posts = (egress.post(server.url(host="inside"), {}, b"{}") for _ in range(5))
        answers = await asyncio.gather(*posts)

    assert {answer.status for answer in answers} == {200}
    assert names.asked == 1


async def test_a_name_that_moved_is_dialled_where_it_is_now():
    # Nobody else's test listens on the first address, whatever the port.
    names, now = Names(inside=[["127.9.9.9"], ["127.0.0.2"]]), [0.0]
    async with (
        Server(says(OK), host="127.0.0.2") as server,
        client(resolver=names, monotonic=lambda: now[0]) as egress,
    ):
        with pytest.raises(DeliveryFault):
            await egress.post(server.url(host="inside"), {}, b"{}", timeouts=QUICK)
        now[0] = KEPT_SECONDS
        assert (await egress.post(server.url(host="inside"), {}, b"{}", timeouts=QUICK)).status == 200


async def test_a_refused_lookup_refuses_all_that_wait_for_it():
    names = Names(hook_example_test=[["10.0.0.1"]])
    async with client(allow=(), resolver=names) as egress:
        posts = (egress.post("https://hook.example.test/", {}, b"{}", timeouts=QUICK) for _ in range(5))
        answers = await asyncio.gather(*posts, return_exceptions=True)

    assert {type(answer) for answer in answers} == {EgressBlocked}


async def test_hanging_names_of_one_tenant_keep_no_other_waiting():
    names = Names(inside=[["127.0.0.1"]])
    names.hanging = {f"n{number}.example.test" for number in range(PARTY_LOOKUPS + 2)}
    async with Server(says(OK)) as server, client(resolver=names) as egress:
        hanging = [
            asyncio.create_task(egress.post(f"https://{name}/", {}, b"{}", party="a", timeouts=QUICK))
            for name in sorted(names.hanging)
        ]
        await names.waiting(PARTY_LOOKUPS)

        with pytest.raises(LookupsBusy):  # its own next one has to wait, and is not charged for it
            await egress.post(server.url(host="inside"), {}, b"{}", party="a", timeouts=QUICK)
        await egress.check_url("https://unknown.example.test/", party="b")
        answer = await egress.post(server.url(host="inside"), {}, b"{}", party="b", timeouts=QUICK)
        errors = await asyncio.gather(*hanging, return_exceptions=True)

    assert answer.status == 200
    classes = [getattr(error, "error_class", None) for error in errors]
    assert (classes.count(FaultClass.DNS), classes.count(FaultClass.DEFERRED)) == (PARTY_LOOKUPS, 2)


async def test_a_hundred_slow_receivers_do_not_hold_up_one_more():
    together = asyncio.Barrier(120)

    async def answer_when_all_are_there(server, reader, writer):
        await head_of(server, reader)
        await together.wait()
        writer.write(OK)

    async with Server(answer_when_all_are_there) as server, client() as egress:
        answers = await asyncio.gather(*(egress.post(server.url(), {}, b"{}") for _ in range(120)))

    assert {answer.status for answer in answers} == {200}


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
