"""How we authenticate at endpoints: what a post carries, and the tokens that a server gives, over real HTTP."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from channels.egress import EgressClient
from channels.errors import DeliveryFault, FaultClass, LookupsBusy
from db.endpoints import auth_context
from db.errors import SealBroken
from db.sealing import Sealer
from handlers.webhooks.endpoint_auth import Authorisation, Authoriser
from handlers.webhooks.oauth2 import ClientCredentials, TokenKey, TokenStore
from tests.fakes import FakeClock
from tests.integration.egress_stage import LOOPBACK
from tests.servers import MASTER_KEY

TENANT, ENDPOINT = uuid4(), uuid4()
SEALER = Sealer([MASTER_KEY])


def sealed(auth: dict[str, Any], tenant: UUID = TENANT, endpoint: UUID = ENDPOINT) -> bytes:
    return SEALER.seal_json(auth, auth_context(tenant, endpoint))


@dataclass(slots=True)
class TokenServer:
    """Gives a new token each time, or what the script says; remembers who asked, and can be held."""

    script: list[Any] = field(default_factory=list)
    asked: list[tuple[str, dict[str, list[str]], str]] = field(default_factory=list)
    url: str = ""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    lifetime: Any = 3600

    async def answer(self, request: web.Request) -> web.Response:
        form = parse_qs(await request.text())
        self.asked.append((request.headers["Authorization"], form, request.headers["Content-Type"]))
        self.arrived.set()
        await self.open.wait()
        if self.script:
            status, body = self.script.pop(0)
            return web.Response(status=status, body=body)
        token = {"access_token": f"token-{len(self.asked)}", "token_type": "Bearer"}
        expires = {} if self.lifetime is None else {"expires_in": self.lifetime}
        return web.json_response(token | expires)

    def auth(self, **more: Any) -> dict[str, Any]:
        login = {"client_id": "wäh:id", "client_secret": "s p&ce"}
        return {"type": "oauth2", "token_url": self.url, **login, **more}


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    served = TokenServer()
    served.open.set()
    app = web.Application()
    app.router.add_post("/token", served.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        served.url = str(server.make_url("/token"))
        yield served


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    client = EgressClient(LOOPBACK)
    yield client
    await client.aclose()


@pytest.fixture
def authoriser(clock: FakeClock) -> Authoriser:
    return Authoriser(SEALER, clock)


async def header(authoriser: Authoriser, egress: Any, auth: bytes | None) -> str | None:
    found = await authoriser.authorise(egress, TENANT, ENDPOINT, auth)
    assert set(found.headers) <= {"Authorization"}
    return found.headers.get("Authorization")


class TestFixed:
    async def test_without_credentials_a_post_carries_none(self, authoriser, egress) -> None:
        assert await header(authoriser, egress, None) is None

    @pytest.mark.parametrize(
        ("auth", "value"),
        [
            ({"type": "bearer", "token": "t0k~en=="}, "Bearer t0k~en=="),
            (
                {"type": "basic", "username": "josé", "password": "a:b ñ"},
                "Basic " + base64.b64encode("josé:a:b ñ".encode()).decode(),
            ),
        ],
    )
    async def test_a_header_is_made_of_them(self, authoriser, egress, auth, value) -> None:
        assert await header(authoriser, egress, sealed(auth)) == value

    async def test_credentials_of_another_row_do_not_open(self, authoriser, egress) -> None:
        """Also where they were opened for their own row just before."""
        mine = sealed({"type": "bearer", "token": "mine"})
        await header(authoriser, egress, mine)
        with pytest.raises(SealBroken):
            await authoriser.authorise(egress, TENANT, uuid4(), mine)
        with pytest.raises(SealBroken):
            await authoriser.authorise(egress, uuid4(), ENDPOINT, mine)

    async def test_nothing_secret_prints(self, authoriser, egress, tokens) -> None:
        for auth in ({"type": "bearer", "token": "hidden"}, tokens.auth(client_secret="hidden")):
            found = await authoriser.authorise(egress, TENANT, ENDPOINT, sealed(auth))
            shown = repr(found)
            assert "hidden" not in shown
            assert "token-" not in shown
            assert "Bearer" not in shown


class TestTokens:
    async def test_a_client_names_itself_as_every_server_takes_it(self, authoriser, egress, tokens) -> None:
        """RFC 6749 §2.3.1 and §4.4.2."""
        assert await header(authoriser, egress, sealed(tokens.auth(scope="hooks write"))) == "Bearer token-1"
        ((login, form, content_type),) = tokens.asked
        encoded = base64.b64encode(b"w%C3%A4h%3Aid:s+p%26ce").decode()
        assert login == f"Basic {encoded}"
        assert form == {"grant_type": ["client_credentials"], "scope": ["hooks write"]}
        assert content_type == "application/x-www-form-urlencoded"

    @pytest.mark.parametrize(
        ("lifetime", "seconds"),
        [
            (3600, 3570),
            ("3600", 3570),
            (40, 20),
            (10**9 - 1, 86_400),
            (10**12, 300),
            (None, 300),
            (-5, 300),
            (True, 300),
            ([], 300),
        ],
    )
    async def test_a_token_is_kept_until_shortly_before_its_end(
        self, authoriser, egress, tokens, clock, lifetime, seconds
    ) -> None:
        tokens.lifetime, auth = lifetime, sealed(tokens.auth())
        assert await header(authoriser, egress, auth) == "Bearer token-1"
        clock.advance(seconds - 1)
        assert await header(authoriser, egress, auth) == "Bearer token-1"
        clock.advance(1)
        assert await header(authoriser, egress, auth) == "Bearer token-2"

    async def test_a_token_that_ends_at_once_is_used_once(self, authoriser, egress, tokens) -> None:
        tokens.lifetime, auth = 0, sealed(tokens.auth())
        shown = [await header(authoriser, egress, auth) for _ in range(2)]
        assert shown == ["Bearer token-1", "Bearer token-2"]

    async def test_all_who_wait_are_served_by_one_request(self, authoriser, egress, tokens) -> None:
        tokens.open.clear()
        auth = sealed(tokens.auth())
        waiting = [asyncio.create_task(header(authoriser, egress, auth)) for _ in range(20)]
        await tokens.arrived.wait()
        waiting[0].cancel()  # who leaves does not end it for the others
        tokens.open.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == ["Bearer token-1"] * 19
        assert len(tokens.asked) == 1

    async def test_a_failure_is_told_to_all_and_the_next_asks_again(self, authoriser, egress, tokens) -> None:
        tokens.open.clear()
        tokens.script = [(500, b"")]
        auth = sealed(tokens.auth())
        waiting = [asyncio.create_task(header(authoriser, egress, auth)) for _ in range(3)]
        await tokens.arrived.wait()
        tokens.open.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [getattr(result, "error_class", None) for result in results] == [FaultClass.AUTHORISATION] * 3
        assert await header(authoriser, egress, auth) == "Bearer token-2"

    @pytest.mark.parametrize(
        "answer",
        [
            (400, b'{"error":"invalid_client"}'),
            (401, b""),
            (302, b""),
            (201, b'{"access_token":"t","token_type":"bearer"}'),
            (200, b""),
            (200, b"[]"),
            (200, b"null"),
            (200, b'{"access_token":"t"}'),
            (200, b'{"access_token":"t","token_type":"mac"}'),
            (200, b'{"access_token":"","token_type":"bearer"}'),
            (200, b'{"access_token":7,"token_type":"bearer"}'),
            (200, b'{"access_token":"a b","token_type":"bearer"}'),
            (200, b'{"access_token":"a\\r\\nX: y","token_type":"bearer"}'),
            (200, '{"access_token":"ñ","token_type":"bearer"}'.encode()),
            (200, b'{"access_token":"' + b"x" * 9_000 + b'","token_type":"bearer"}'),
        ],
    )
    async def test_what_is_no_token_is_a_failure_of_its_own_class(
        self, authoriser, egress, tokens, answer
    ) -> None:
        tokens.script = [answer]
        with pytest.raises(DeliveryFault) as caught:
            await header(authoriser, egress, sealed(tokens.auth()))
        assert caught.value.error_class is FaultClass.AUTHORISATION
        assert "access_token" not in str(caught.value)

    @pytest.mark.parametrize("url", ["https://127.0.0.1:1/token", "http://10.0.0.1/token", "ftp://x/"])
    async def test_a_server_that_is_away_or_not_allowed_is_the_same(
        self, authoriser, egress, tokens, url
    ) -> None:
        with pytest.raises(DeliveryFault) as caught:
            await header(authoriser, egress, sealed(tokens.auth(token_url=url)))
        assert caught.value.error_class is FaultClass.AUTHORISATION

    async def test_that_we_are_busy_ourselves_is_not_the_other_sides_failure(
        self, authoriser, tokens
    ) -> None:
        with pytest.raises(LookupsBusy):
            await header(authoriser, BusyEgress(), sealed(tokens.auth()))

    async def test_tokens_are_of_one_endpoint_and_of_its_credentials_of_now(
        self, clock, egress, tokens
    ) -> None:
        authoriser, other = Authoriser(SEALER, clock), uuid4()
        auth, changed = sealed(tokens.auth()), sealed(tokens.auth(client_secret="new"))
        assert await header(authoriser, egress, auth) == "Bearer token-1"
        found = await authoriser.authorise(egress, TENANT, other, sealed(tokens.auth(), endpoint=other))
        assert found.headers == {"Authorization": "Bearer token-2"}
        assert await header(authoriser, egress, changed) == "Bearer token-3"
        assert await header(authoriser, egress, auth) == "Bearer token-1"


class BusyEgress:
    async def post(self, *_: Any, **__: Any) -> Any:
        raise LookupsBusy


class TestRefusals:
    async def used(self, authoriser: Authoriser, egress: Any, auth: bytes) -> Authorisation:
        return await authoriser.authorise(egress, TENANT, ENDPOINT, auth)

    async def test_a_refused_token_is_replaced_once(self, authoriser, egress, tokens, clock) -> None:
        auth = sealed(tokens.auth())
        first = await self.used(authoriser, egress, auth)
        for _ in range(3):  # posts that were under way together
            authoriser.refuse(TENANT, ENDPOINT, auth, first)
        second = await self.used(authoriser, egress, auth)
        assert second.headers == {"Authorization": "Bearer token-2"}

        authoriser.refuse(TENANT, ENDPOINT, auth, first)  # a late answer to what is replaced already
        authoriser.refuse(TENANT, ENDPOINT, auth, second)
        assert await self.used(authoriser, egress, auth) == second
        clock.advance(60)
        authoriser.refuse(TENANT, ENDPOINT, auth, second)
        third = await self.used(authoriser, egress, auth)
        assert third.headers == {"Authorization": "Bearer token-3"}

    async def test_a_fixed_token_stays_whatever_is_answered(self, authoriser, egress) -> None:
        auth = sealed({"type": "bearer", "token": "t"})
        found = await self.used(authoriser, egress, auth)
        authoriser.refuse(TENANT, ENDPOINT, auth, found)
        assert await self.used(authoriser, egress, auth) == found


async def test_what_is_kept_is_bounded(monkeypatch, clock, egress, tokens) -> None:
    monkeypatch.setattr("handlers.webhooks.oauth2.MOST_KEPT", 2)
    store = TokenStore(clock)
    asked = ClientCredentials(tokens.url, "id", "secret")
    keys = [TokenKey(TENANT, uuid4(), b"") for _ in range(3)]
    for key in keys:
        await store.token(egress, key, asked)
    assert await store.token(egress, keys[2], asked) == "token-3"
    assert await store.token(egress, keys[1], asked) == "token-2"
    assert await store.token(egress, keys[0], asked) == "token-4"  # the oldest had gone
    assert await store.token(egress, keys[2], asked) == "token-5"  # then the one that was used least recently
