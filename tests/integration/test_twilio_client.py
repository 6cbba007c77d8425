"""Twilio's own client carries our requests: to the operator's base URL only, bounded, and read with care."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from channels.base import Channel, OutboundMessage
from channels.errors import ProviderUnavailable
from channels.twilio import LOOKUP_LIMIT, TwilioAdapter
from tests.fakes import FakeClock
from tests.integration.sandbox_stage import CUSTOMER, staged
from tests.unit.channels.twilio_cases import OUR_MESSAGE, account

MESSAGE = OutboundMessage(OUR_MESSAGE, Channel.SMS, CUSTOMER, "hi", "https://gw.example.test/status")
LISTED = {"sid": "SM" + "0" * 32, "date_created": "Sun, 01 Mar 2026 12:00:00 +0000"}


@asynccontextmanager
async def lists(page: Callable[[web.Request], dict[str, Any]]):
    """An adapter at a Twilio that answers with these pages, and what it was asked."""
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.json_response(page(request))

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app) as server:
        adapter = TwilioAdapter(str(server.make_url("/")))
        try:
            yield adapter, asked
        finally:
            await adapter.aclose()


async def look_up(adapter: TwilioAdapter):
    return await adapter.find_sent(account(), MESSAGE, FakeClock()(), frozenset())


async def test_the_process_s_environment_changes_nothing(monkeypatch):
    for name in ("ACCOUNT_SID", "AUTH_TOKEN", "EDGE", "REGION"):
        monkeypatch.setenv(f"TWILIO_{name}", "elsewhere")

    async with staged() as stage:
        receipt = await stage.adapter.send(account(), stage.message())

        assert stage.state.messages[0].sid == receipt.provider_message_id


async def test_the_requests_are_those_of_twilio_s_client():
    async with lists(lambda _: {"messages": []}) as (adapter, asked):
        assert await look_up(adapter) is None

    assert asked[0].headers["X-Twilio-Client"].startswith("python-")
    assert dict(asked[0].query) == {"To": CUSTOMER, "From": account().address, "PageSize": "200"}


ELSEWHERE = [
    {"meta": {"key": "messages", "next_page_url": "http://127.0.0.1:9/2010-04-01/x"}},
    {"meta": {"key": "messages", "next_page_url": "https://api.twilio.com.example.test/x"}},
    {"meta": {"key": "messages", "next_page_url": "https://api.twilio.com@example.test/x"}},
    {"meta": {"key": "messages", "next_page_url": "/x"}},
    {"next_page_uri": 5},
]


@pytest.mark.parametrize("following", ELSEWHERE)
async def test_a_next_page_that_is_elsewhere_is_not_asked_for(following):
    async with lists(lambda _: {"messages": [LISTED], **following}) as (adapter, asked):
        with pytest.raises(ProviderUnavailable):
            await look_up(adapter)

    assert len(asked) == 1


@pytest.mark.parametrize(
    "uri", ["@example.test/x", ".example.test/x", "//example.test/x", "https://example.test/x"]
)
async def test_a_next_page_s_path_stays_below_the_base_url(uri):
    """Credentials go there: whatever the path says, it is one of the base URL's."""

    def page(request: web.Request) -> dict[str, Any]:
        return {"messages": []} if request.path.endswith("/x") else {"messages": [], "next_page_uri": uri}

    async with lists(page) as (adapter, asked):
        assert await look_up(adapter) is None

    assert len(asked) == 2


async def test_a_lookup_ends_at_its_limit():
    endless = {"messages": [LISTED] * 80, "next_page_uri": "/2010-04-01/again"}
    async with lists(lambda _: endless) as (adapter, asked):
        assert await look_up(adapter) is None

    assert len(asked) == -(-LOOKUP_LIMIT // 80)


ODD_LISTS = [
    {"messages": {}},
    {"messages": ""},
    {"message": "no list"},
    {"messages": [], "others": []},
    {"messages": [5]},
    {"messages": [{**LISTED, "date_created": None}]},
    {"messages": [{**LISTED, "date_created": "some day"}]},
    {"messages": [{**LISTED, "date_created": "Sun, 99 Mar 2026 12:00:00 +0000"}]},
    {"messages": [{**LISTED, "num_media": "few"}]},
]


@pytest.mark.parametrize("page", ODD_LISTS)
async def test_a_list_that_cannot_be_read_is_not_an_empty_one(page):
    """A lookup that finds nothing lets the message be sent again."""
    async with lists(lambda _: page) as (adapter, _):
        with pytest.raises(ProviderUnavailable):
            await look_up(adapter)


def test_a_process_that_sends_nothing_does_without_the_client():
    code = "import sys, channels.registry; print([name for name in sys.modules if name.startswith('twilio')])"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"
