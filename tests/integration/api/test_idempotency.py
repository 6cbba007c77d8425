"""Idempotency-Key: done once, answered the same, also under load and for secrets."""

import asyncio
from collections import Counter
from http import HTTPMethod

import pytest

from db.idempotency import JoinedDatabase, claim_key
from gateway.api.routes import OPERATIONS
from gateway.master_keys import rotate
from tests.integration.api.seeds import ENDPOINT, PRODUCT
from tests.servers import MASTER_KEY

KEY = {"Idempotency-Key": "order-4711"}


async def count(admin, table: str):
    return await admin.fetchval(f"select count(*) from {table}")


class TestRepetition:
    async def test_the_same_request_has_the_same_answer_and_one_effect(self, api, admin) -> None:
        first = await api.post("/v1/products", PRODUCT, headers=KEY)
        async with api.http.post("/v1/products", json=PRODUCT, headers=api.headers(KEY)) as again:
            assert again.headers["Idempotency-Replayed"] == "true"
            assert first == (again.status, await again.json())
        assert await count(admin, "products") == 1

    async def test_twenty_parallel_posts_make_one_row(self, api, admin) -> None:
        answers = await asyncio.gather(
            *(api.post("/v1/webhook-endpoints", ENDPOINT, headers=KEY) for _ in range(20))
        )
        statuses = Counter(status for status, _ in answers)
        assert statuses[201] >= 1
        assert statuses[201] + statuses[409] == 20
        assert len({answer["secret"] for status, answer in answers if status == 201}) == 1
        assert {answer["code"] for status, answer in answers if status == 409} <= {"idempotency_in_progress"}
        assert await count(admin, "webhook_endpoints") == 1

    async def test_another_body_is_422(self, api, admin) -> None:
        await api.post("/v1/products", PRODUCT, headers=KEY)
        status, problem = await api.post("/v1/products", {**PRODUCT, "sku": "OTHER"}, headers=KEY)
        assert (status, problem["code"]) == (422, "idempotency_key_reused")
        assert await count(admin, "products") == 1

    async def test_a_key_holds_per_tenant_and_per_route(self, api, other, admin) -> None:
        body = {"name": "erp"}
        assert (await api.post("/v1/api-keys", body, headers=KEY))[0] == 201
        assert (await other.post("/v1/api-keys", body, headers=KEY))[0] == 201
        assert (await api.post("/v1/products", PRODUCT, headers=KEY))[0] == 201
        assert await count(admin, "api_keys") == 4

    async def test_two_things_under_one_route_are_told_apart(self, api) -> None:
        ids = [(await api.post("/v1/webhook-endpoints", ENDPOINT))[1]["id"] for _ in range(2)]
        answers = [await api.post(f"/v1/webhook-endpoints/{one}/disable", headers=KEY) for one in ids]
        assert [answer["id"] for _, answer in answers] == ids

    async def test_after_24_hours_the_key_is_free(self, api, admin, clock) -> None:
        await api.post("/v1/products", PRODUCT, headers=KEY)
        clock.advance(24 * 3600 - 1)
        assert (await api.post("/v1/products", PRODUCT, headers=KEY))[0] == 201
        clock.advance(2)
        assert (await api.post("/v1/products", PRODUCT, headers=KEY))[0] == 409
        assert (await api.post("/v1/products", {**PRODUCT, "sku": "OTHER"}, headers=KEY))[0] == 201
        assert await count(admin, "products") == 2

    async def test_expired_keys_are_swept(self, api, admin, clock) -> None:
        for number in range(5):
            await api.post("/v1/api-keys", {"name": "k"}, headers={"Idempotency-Key": f"k{number}"})
        clock.advance(24 * 3600 + 1)
        await api.post("/v1/api-keys", {"name": "k"}, headers=KEY)
        assert await count(admin, "idempotency_keys") == 1


class TestRotation:
    async def test_an_answer_that_was_sealed_again_is_given_again(self, api, runtime, admin) -> None:
        """There and back, since this gateway knows the old key alone; what an answer is bound to must be known to both."""
        _, first = await api.post("/v1/api-keys", {"name": "k"}, headers=KEY)
        await admin.execute("update idempotency_keys set created_at = now()")
        for keys in ([bytes(32), MASTER_KEY], [MASTER_KEY, bytes(32)]):
            assert (await rotate(runtime.database, keys, lambda *_: None)).resealed == 1
        await admin.execute("update idempotency_keys set created_at = $1", runtime.clock())
        assert (await api.post("/v1/api-keys", {"name": "k"}, headers=KEY))[1] == first


class TestFailures:
    async def test_a_failure_keeps_nothing_so_that_the_key_can_be_used_again(self, api, admin) -> None:
        status, _ = await api.post("/v1/products", {**PRODUCT, "unit_price": -1}, headers=KEY)
        assert status == 422
        assert await count(admin, "idempotency_keys") == 0
        assert (await api.post("/v1/products", PRODUCT, headers=KEY))[0] == 201

    async def test_a_conflict_rolls_the_key_back(self, api, admin) -> None:
        await api.post("/v1/products", PRODUCT)
        assert (await api.post("/v1/products", PRODUCT, headers=KEY))[0] == 409
        assert await count(admin, "idempotency_keys") == 0

    async def test_what_was_done_and_its_answer_commit_together_or_not_at_all(
        self, api, admin, monkeypatch
    ) -> None:
        """As after a crash between the two."""

        async def crash(*_args, **_more):
            raise RuntimeError

        monkeypatch.setattr("gateway.api.replays.idempotency.store_answer", crash)
        async with api.http.post("/v1/products", json=PRODUCT, headers=api.headers(KEY)) as response:
            assert response.status == 500
        assert (await count(admin, "products"), await count(admin, "idempotency_keys")) == (0, 0)

    async def test_a_repetition_that_comes_too_early_is_409_at_once_and_holds_nobody_up(
        self, api, other, database, clock
    ) -> None:
        """More of them than there are connections, while the first request has not ended."""
        async with asyncio.timeout(10), database.tenant(api.distributor_id) as connection:
            route = "POST /v1/products 00000000-0000-0000-0000-000000000000"
            now = clock()
            assert await claim_key(
                connection, route, KEY["Idempotency-Key"], request_hash=b"", now=now, oldest=now
            )
            headers = api.headers(KEY)
            early = [api.http.post("/v1/products", json=PRODUCT, headers=headers) for _ in range(20)]
            answers = await asyncio.gather(*early)
            assert (await other.get("/v1/tenant"))[0] == 200

        assert {(answer.status, answer.headers["Retry-After"]) for answer in answers} == {(409, "1")}
        assert {(await answer.json())["code"] for answer in answers} == {"idempotency_in_progress"}

    @pytest.mark.parametrize("key", ["", "a b", "k" * 256, "ñ"])
    async def test_a_malformed_key_is_422(self, api, key) -> None:
        status, problem = await api.post("/v1/products", PRODUCT, headers={"Idempotency-Key": key})
        assert (status, problem["errors"][0]["location"]) == (422, "header")


async def test_the_stored_answer_is_sealed(api, admin) -> None:
    _, key = await api.post("/v1/api-keys", {"name": "erp"}, headers=KEY)
    sealed = await admin.fetchval("select response_sealed from idempotency_keys")
    assert key["api_key"].encode() not in sealed


def test_every_post_says_in_the_document_that_it_takes_a_key(document) -> None:
    for operation in OPERATIONS:
        names = [
            found["name"]
            for found in document.value["paths"][operation.path][operation.method.lower()].get(
                "parameters", []
            )
        ]
        assert ("Idempotency-Key" in names) == (operation.method is HTTPMethod.POST)


class TestJoinedDatabase:
    async def test_a_failed_part_is_taken_back_and_the_rest_stays(self, api, database, admin, clock) -> None:
        async with database.tenant(api.distributor_id) as connection:
            joined = JoinedDatabase(database, connection, api.distributor_id)
            async with joined.tenant(api.distributor_id) as inner:
                await inner.execute("update distributors set name = 'kept'")
            with pytest.raises(ZeroDivisionError):
                await self.change_and_fail(joined, api)
        assert await admin.fetchval("select name from distributors") == "kept"

    async def change_and_fail(self, joined, api) -> None:
        async with joined.tenant(api.distributor_id) as inner:
            await inner.execute("update distributors set name = 'lost'")
            raise ZeroDivisionError

    async def test_another_tenant_is_refused(self, api, other, database) -> None:
        async with database.tenant(api.distributor_id) as connection:
            joined = JoinedDatabase(database, connection, api.distributor_id)
            with pytest.raises(ValueError, match="another tenant"):
                async with joined.tenant(other.distributor_id):
                    pass

    async def test_the_worker_s_connections_are_the_outer_database_s(self, api, database) -> None:
        async with database.tenant(api.distributor_id) as connection:
            joined = JoinedDatabase(database, connection, api.distributor_id)
            async with joined.worker() as worker, joined.worker_statements() as statements:
                roles = [await one.fetchval("select current_user") for one in (worker, statements)]
        assert roles == ["waystation_worker"] * 2
