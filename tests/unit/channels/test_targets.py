"""Which URLs and addresses a tenant may name."""

from ipaddress import ip_address, ip_network

import pytest
from aiohttp.test_utils import unused_port
from hypothesis import given
from hypothesis import strategies as st

from channels.errors import EgressBlocked, UrlNotAllowed
from channels.networks import AddressPolicy
from channels.targets import target_of
from tests.integration.egress_stage import LOOPBACK, PUBLIC, QUICK, Names, client

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
        "https://hook.example.test:0/",
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

    assert (caught.value.code, caught.value.field) == ("url_not_allowed", "url")
    assert not url or url not in str(caught.value)


async def test_the_allow_list_is_the_deployments():
    async with client() as egress:
        await egress.check_url(f"http://127.0.0.1:{unused_port()}/hook")
        await egress.check_url(f"https://[::1]:{unused_port()}/hook")
        with pytest.raises(UrlNotAllowed):
            await egress.check_url("https://10.0.0.1/")


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
    policy = AddressPolicy((ip_network("10.1.0.0/16"), ip_network("fd00::1")))

    assert policy.permits("10.1.2.3", listed_only=True)
    assert policy.permits("::ffff:10.1.2.3", listed_only=True)
    assert policy.permits("fd00::1")
    assert not policy.permits("10.2.0.1")
    assert ip_address("10.1.2.3").is_private


hosts = st.text("0123456789abcdefx.:[]%@/\\#?-_ ①。\uff11\u0130\u00df\u200d\ud7ff", max_size=30)


@given(st.sampled_from(["https://", "http://", "HTTPS://", "", "https:"]), hosts, st.text(max_size=10))
def test_any_text_is_a_target_or_not_allowed(scheme, host, tail):
    try:
        target = target_of(scheme + host + tail)
    except UrlNotAllowed:
        return
    assert target.url.scheme in {"http", "https"}
    assert target.host.isascii()
    assert target.url.raw_host == target.host
    assert (target.address is None) == (not _is_number(target.host))


def _is_number(host):
    return ":" in host or host.rpartition(".")[2].isdecimal()
