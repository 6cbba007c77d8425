"""Every known way around the guard, against a canary on loopback that hears of nothing.

The list is that of the design's reference on outgoing webhooks: ways to write an address, to hide one in another, to
have a name mean another machine later, and to be sent on by somebody else.
"""

from ipaddress import ip_network

import pytest

from channels.errors import EgressBlocked, UrlNotAllowed
from channels.exchanges import ExchangeTrace
from channels.resolving import KEPT_SECONDS
from channels.targets import SERVICE_PORTS
from tests.integration.egress_stage import (
    LOOPBACK,
    OK,
    PUBLIC,
    QUICK,
    Canary,
    Everywhere,
    Names,
    Server,
    client,
    says,
)

NOWHERE_NEAR = (ip_network("10.1.0.0/16"),)
METADATA = "169.254.169.254"

LITERALS = {
    "loopback": "127.0.0.1",
    "the rest of loopback": "127.8.8.8",
    "this network": "0.0.0.0",
    "this network's rest": "0.1.2.3",
    "IPv6 loopback": "[::1]",
    "IPv6 loopback at length": "[0:0:0:0:0:0:0:1]",
    "IPv6 unspecified": "[::]",
    "mapped": "[::ffff:127.0.0.1]",
    "mapped in hex": "[::ffff:7f00:1]",
    "mapped metadata": f"[::ffff:{METADATA}]",
    "compatible": "[::127.0.0.1]",
    "compatible metadata": f"[::{METADATA}]",
    "translated (SIIT)": "[::ffff:0:127.0.0.1]",
    "NAT64": "[64:ff9b::7f00:1]",
    "NAT64 metadata": "[64:ff9b::169.254.169.254]",
    "local NAT64": "[64:ff9b:1::7f00:1]",
    "6to4": "[2002:7f00:1::]",
    "6to4 metadata": "[2002:a9fe:a9fe::1]",
    "Teredo server": "[2001:0:7f00:1::]",
    "Teredo client": "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "ISATAP": "[2606:2800::5efe:127.0.0.1]",
    "ISATAP, universal": "[2606:2800::200:5efe:a9fe:a9fe]",
    "link-local": "[fe80::1]",
    "site-local": "[fec0::1]",
    "unique local": "[fd12:3456::1]",
    "multicast": "[ff02::1]",
    "documentation": "[2001:db8::1]",
    "private, 10": "10.0.0.1",
    "private, 172": "172.16.0.1",
    "private, 192": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "benchmarking": "198.18.0.1",
    "multicast, 224": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "metadata": METADATA,
    "metadata of containers": "169.254.170.2",
    "metadata by IPv6 (AWS)": "[fd00:ec2::254]",
    "metadata by IPv6 (Google)": "[fd20:ce::254]",
    "metadata (Alibaba)": "100.100.100.200",
    "metadata (Oracle)": "192.0.0.192",
    "wire server (Azure)": "168.63.129.16",
}
NUMBERS = {
    "decimal": "2130706433",
    "decimal, one zero more": "02130706433",
    "octal": "0177.0.0.1",
    "octal in one": "017700000001",
    "hex": "0x7f000001",
    "hex by parts": "0x7f.0x0.0x0.0x1",
    "hex, capital": "0X7F.1",
    "mixed": "0x7f.0.1",
    "three parts": "127.0.1",
    "two parts": "127.1",
    "one part": "0",
    "leading zeros": "127.000.000.001",
    "overflowing": "4294967296",
    "part too great": "383.0.0.1",
    "trailing dot": "127.0.0.1.",
    "two trailing dots": "127.0.0.1..",
    "metadata in decimal": "2852039166",
    "metadata in hex": "0xa9fea9fe",
    "an invisible letter": "127.0.0.\u200b1",
    "a soft hyphen": "127.0.0.\u00ad1",
}
NORMALISED = {  # judged and dialled as the address that they are read as
    "full-width digits": "\uff11\uff12\uff17.0.0.1",
    "circled digits": "①②⑦.0.0.1",
    "ideographic dots": "127。0。0。1",
    "full-width dots": "127．0．0．1",
    "half-width ideographic dots": "127｡0｡0｡1",
    "Arabic digits": "١٢٧.٠.٠.١",
    "query before user": "127.0.0.1?@hook.example.test",
}
INSIDE = {
    "localhost": "localhost",
    "localhost with a dot": "localhost.",
    "localhost in capitals": "LOCALHOST",
    "localhost in full width": "ｌｏｃａｌｈｏｓｔ",
    "localhost in circles": "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "localhost with a soft hyphen": "local\u00adhost",
    "below localhost": "a.localhost",
    "one label": "inside",
    "metadata by name": "metadata.google.internal",
    "metadata by one label": "instance-data",
    ".internal": "db.prod.internal",
    ".internal in capitals": "db.prod.INTERNAL",
    ".internal with a dot": "db.prod.internal.",
    ".local": "printer.local",
    ".cluster.local": "api.default.svc.cluster.local",
    ".lan": "nas.lan",
    ".home.arpa": "nas.home.arpa",
}
NAMES = {
    "a public name of loopback": "127.0.0.1.nip.io",
    "a public name": "hook.example.test",
    "a public name in punycode": "xn--bcher-kva.example.test",
}
PARSERS = {
    "user": "good@127.0.0.1",
    "user and password": "user:pw@127.0.0.1",
    "a host as user": "hook.example.test@127.0.0.1",
    "a host as user, escaped": "hook.example.test%40127.0.0.1",
    "two users": "a@hook.example.test@127.0.0.1",
    "empty user": "@127.0.0.1",
    "fragment before user": "hook.example.test#@127.0.0.1",
    "user before fragment": "127.0.0.1#@hook.example.test",
    "backslash before user": "hook.example.test\\@127.0.0.1",
    "user before backslash": "127.0.0.1\\@hook.example.test",
    "escaped slash": "127.0.0.1%2f",
    "escaped slash before a name": "127.0.0.1%2f.hook.example.test",
    "escaped dots": "127%2e0%2e0%2e1",
    "escaped letters": "%6cocalhost",
    "escaped NUL": "127.0.0.1%00.hook.example.test",
    "tab": "127.0.\t0.1",
    "newline": "127.0.0.1\n",
    "CR and LF": "127.0.0.1\r\nHost: hook.example.test\r\n",
    "space": "127.0.0.1 hook.example.test",
    "leading space": " 127.0.0.1",
    "comma": "hook.example.test,127.0.0.1",
    "semicolon": "hook.example.test;127.0.0.1",
    "zone": "[fe80::1%25lo]",
    "zone, not escaped": "[fe80::1%lo]",
    "zone of loopback": "[::1%25lo]",
    "empty zone": "[::1%25]",
    "IPv6 without brackets": "::1",
    "IPv6, bracket open": "[::1",
    "IPv6, bracket shut": "::1]",
    "IPv6 in two brackets": "[[::1]]",
    "IPv6 with a port within": "[::1:80]",
    "IPv6 with two ports": "[::1]:443",
    "IPv6 and a name": "[::1].hook.example.test",
    "IPv6 and IPv4": "[::1]127.0.0.1",
    "IPv6 as user": "[::1]@127.0.0.1",
    "IPv4 in brackets": "[127.0.0.1]",
    "future address": "[v1.127.0.0.1]",
    "two ports": "127.0.0.1:80",
    "empty": "",
    "dots": "..",
}
REFUSED_FORMS = {**NUMBERS, **PARSERS}
FORMS = {**LITERALS, **NUMBERS, **NORMALISED, **INSIDE, **NAMES, **PARSERS}


async def assert_blocked(egress, url):
    """Refused at registration and when it is posted to, in words and with a trace that tell nothing."""
    with pytest.raises(EgressBlocked) as caught:
        await egress.post(url, {}, b"{}", timeouts=QUICK)
    with pytest.raises(UrlNotAllowed):
        await egress.check_url(url)

    assert str(caught.value) == "The target address may not be reached from here."
    assert caught.value.trace == ExchangeTrace()


@pytest.mark.parametrize("host", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("allow", [(), NOWHERE_NEAR], ids=["no allow list", "an allow list"])
async def test_no_form_of_a_private_host_is_dialled(host, allow):
    """For this resolver every name is loopback, as libc's own says of some of these."""
    async with Canary() as canary, client(allow, resolver=Everywhere("127.0.0.1")) as egress:
        for scheme in ("http", "https"):
            await assert_blocked(egress, canary.url(scheme, host))

    assert canary.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "hook.example.test"]
)
async def test_the_canary_can_be_reached(host):
    """Where the deployment allows it. So what is refused above is refused by the guard."""
    async with Canary() as canary, client(LOOPBACK, resolver=Everywhere("127.0.0.1")) as egress:
        assert (await egress.post(canary.url(host=host), {}, b"{}", timeouts=QUICK)).status == 200

    assert canary.connections == 1


@pytest.mark.parametrize("host", REFUSED_FORMS.values(), ids=REFUSED_FORMS)
async def test_what_parsers_disagree_about_is_refused_whatever_it_means(host):
    """The deployment allows all of loopback here; this is refused for its form alone."""
    async with Canary() as canary, client(LOOPBACK, resolver=Everywhere("127.0.0.1")) as egress:
        await assert_blocked(egress, canary.url("https", host))

    assert canary.connections == 0


@pytest.mark.parametrize("host", INSIDE.values(), ids=INSIDE)
async def test_a_name_of_an_inner_network_is_for_the_allow_list_alone(monkeypatch, host):
    monkeypatch.setattr("channels.networks.DENIED_V4", ())  # loopback plays the public internet
    async with Canary() as canary, client(NOWHERE_NEAR, resolver=Everywhere("127.0.0.1")) as egress:
        await assert_blocked(egress, canary.url("https", host))

    assert canary.connections == 0


# what names mean


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["fd12:3456::1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        [PUBLIC, "::1"],
        ["2606:2800:21f:cb07::1", PUBLIC, METADATA],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        ["not an address"],
    ],
    ids=", ".join,
)
async def test_a_name_with_a_private_answer_is_refused_whole(addresses):
    async with Canary() as canary, client((), resolver=Everywhere(*addresses)) as egress:
        for _ in range(2):  # the second time from what was kept
            await assert_blocked(egress, canary.url("https", "hook.example.test"))

    assert canary.connections == 0


async def test_a_denied_address_spoils_the_allowed_ones_beside_it():
    """Here the other address could be reached, and is not even dialled."""
    names = Everywhere("127.0.0.2", "127.0.0.1")
    async with Canary() as canary, client((ip_network("127.0.0.2/32"),), resolver=names) as egress:
        await assert_blocked(egress, canary.url("http", "inside"))

    assert canary.connections == 0


async def test_rebinding_between_registration_and_send():
    names, now = Names(hook_example_test=[[PUBLIC], ["127.0.0.1"]]), [0.0]
    async with Canary() as canary, client((), resolver=names, monotonic=lambda: now[0]) as egress:
        url = canary.url("https", "hook.example.test")
        await egress.check_url(url)
        now[0] = KEPT_SECONDS
        await assert_blocked(egress, url)

    assert canary.connections == 0


class Turncoat(dict[str, object]):
    """An answer that is another address from the second look on."""

    def __init__(self, answer, later):
        super().__init__(answer)
        self.later = later

    def __getitem__(self, key):
        value = super().__getitem__(key)
        if key == "host":
            self["host"] = self.later
        return value

    def __iter__(self):  # makes a copy ask __getitem__
        return super().__iter__()


class Turncoats(Names):
    async def resolve(self, host, port=0, family=0):
        return [Turncoat(answer, "127.0.0.1") for answer in await super().resolve(host, port, family)]


@pytest.mark.parametrize("judged", [["127.0.0.2"], ["127.0.0.2", "127.0.0.3"]], ids=["one", "two candidates"])
async def test_rebinding_between_the_judgement_and_the_dial(judged):
    names = Turncoats(inside=[judged])
    allow = (ip_network("127.0.0.2/31"),)
    async with Canary() as canary, client(allow, resolver=names) as egress:
        with pytest.raises(EgressBlocked) as caught:
            await egress.post(canary.url(host="inside"), {}, b"{}", timeouts=QUICK)

    assert caught.value.trace == ExchangeTrace()
    assert canary.connections == 0


async def test_rebinding_while_a_connection_is_kept():
    """What was judged is the connection; a name that moved away is not served by it for want of a new lookup."""
    names, now = Names(inside=[["127.0.0.2"], ["127.0.0.1"]]), [0.0]
    keeps = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    async with (
        Server(keeps, host="127.0.0.2") as server,
        client((ip_network("127.0.0.2/32"),), resolver=names, monotonic=lambda: now[0]) as egress,
    ):
        assert (await egress.post(server.url(host="inside"), {}, b"{}", timeouts=QUICK)).status == 200
        now[0] = KEPT_SECONDS
        await assert_blocked(egress, server.url(host="inside"))

    assert server.connections == 1


# who sends on


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status):
    async with Canary() as canary:
        location = canary.url().encode()
        redirect = b"HTTP/1.1 %d Go\r\nLocation: %s\r\nRefresh: 0; url=%s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        async with Server(says(redirect % (status, location, location))) as server, client() as egress:
            answer = await egress.post(server.url(), {}, b"{}")
            assert answer.status == status
            assert (await egress.request("GET", server.url(), headers={})).status == status

    assert canary.connections == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async with Canary() as canary, Server(says(OK)) as server, client() as egress:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, canary.url(path=""))
        assert (await egress.post(server.url(), {}, b"{}")).status == 200

    assert canary.connections == 0


# ports


@pytest.mark.parametrize("port", [1, 22, 23, 25, 110, 465, 587, 1023, *sorted(SERVICE_PORTS)])
async def test_ports_of_other_services_are_for_the_allow_list_alone(monkeypatch, port):
    monkeypatch.setattr("channels.networks.DENIED_V4", ())  # loopback plays the public internet
    for allow in ((), NOWHERE_NEAR):
        async with client(allow, resolver=Everywhere("127.0.0.1")) as egress:
            for host in ("hook.example.test", "127.0.0.1"):
                await assert_blocked(egress, f"https://{host}:{port}/")


def test_the_ports_of_the_reference_are_among_them():
    assert {3306, 5432, 6379, 9200, 10250, 11211} <= SERVICE_PORTS


async def test_a_service_port_on_the_allow_list():
    async with client(LOOPBACK, resolver=Everywhere("127.0.0.1")) as egress:
        await egress.check_url("https://hook.example.test:6379/")
