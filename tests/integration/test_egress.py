"""The guarded client: whom it reaches, how often it dials, and what comes back of an answer."""

import asyncio
from ipaddress import ip_network

import pytest

from channels.errors import DeliveryFault, EgressBlocked, FaultClass, LookupsBusy, UrlNotAllowed
from channels.resolving import KEPT_SECONDS, PARTY_LOOKUPS
from tests.integration.egress_stage import OK, PUBLIC, QUICK, Names, Server, client, head_of, says

# what may be reached


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
        assert (await egress.post(server.url("http", "inside"), {}, b"{}")).trace.address == "127.0.0.1"


# answers


async def test_an_answer_with_all_that_is_kept_of_it():
    answer = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"
    async with Server(says(answer)) as server, client() as egress:
        response = await egress.post(server.url(), {"webhook-id": "evt_1"}, b'{"a":1}')

    assert (response.status, response.body, response.truncated) == (503, b"busy", False)
    assert response.headers["retry-after"] == "7"
    assert response.trace.address == "127.0.0.1"
    assert b"POST /hook HTTP/1.1\r\n" in server.received
    assert b"webhook-id: evt_1\r\n" in server.received
    assert b"Accept-Encoding: identity\r\n" in server.received
    assert b"busy" not in repr(response).encode()


async def test_connections_are_used_again():
    async def twice(server, reader, writer):
        for _ in range(2):
            await head_of(server, reader)
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with Server(twice) as server, client() as egress:
        for _ in range(2):
            assert (await egress.post(server.url(), {}, b"{}")).trace.address == "127.0.0.1"

    assert server.connections == 1


async def test_so_many_hosts_have_a_connection_that_waits_and_no_more():
    """Each is a file descriptor, and who posts to very many hosts in turn would run out of them."""

    async def keeps(server, reader, writer):
        while True:
            await head_of(server, reader)
            await reader.readexactly(2)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with Server(keeps) as first, Server(keeps) as second, client(connections=1) as egress:
        for server in (first, second, second, first):
            await egress.post(server.url(), {}, b"{}")

    assert (first.connections, second.connections) == (1, 2)


async def test_the_next_address_is_tried():
    names = Names(inside=[["127.0.0.2", "::1", "127.0.0.1"]])
    async with Server(says(OK)) as server, client(resolver=names) as egress:
        response = await egress.post(server.url(host="inside"), {}, b"{}", timeouts=QUICK)

    assert response.trace.address == "127.0.0.1"


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


async def test_a_body_of_the_cap_is_whole():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"y" * 100
    async with Server(says(answer)) as server, client(body_cap=100) as egress:
        response = await egress.post(server.url(), {}, b"{}")

    assert (len(response.body), response.truncated) == (100, False)
