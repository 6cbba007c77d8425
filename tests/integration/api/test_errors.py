"""What goes wrong is a problem+json with a stable code, and tells nothing that it should not."""

import io
import json

import pytest
from aiohttp import web

from db.errors import DatabaseUnavailable
from gateway.keys import RUNTIME
from gateway.middleware import MIDDLEWARES
from tests.integration.api.seeds import ACCOUNT, ENDPOINT, PRODUCT


async def problem_of(response):
    problem = json.loads(await response.text())
    assert response.content_type == "application/problem+json"
    assert problem["status"] == response.status
    assert problem["type"] == f"urn:waystation:problem:{problem['code']}"
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert {"title", "detail", "errors"} <= problem.keys()
    return problem


class TestFrameworkErrors:
    async def test_an_unknown_path_is_404(self, http) -> None:
        async with http.get("/v1/nothing") as response:
            assert (response.status, (await problem_of(response))["code"]) == (404, "not_found")

    async def test_a_wrong_method_is_405_and_names_the_right_ones(self, http) -> None:
        async with http.put("/v1/tenant") as response:
            assert (response.status, (await problem_of(response))["code"]) == (405, "method_not_allowed")
            assert set(response.headers["Allow"].split(",")) == {"GET", "PATCH"}

    @pytest.mark.parametrize(
        ("path", "size", "status"),
        [
            ("/v1/products", 1024 * 1024 + 1, 413),
            ("/v1/products/import", 1024 * 1024 + 1, 200),
            ("/v1/products/import", 10 * 1024 * 1024 + 1, 413),
        ],
    )
    async def test_the_cap_of_a_body(self, api, http, path, size, status) -> None:
        start = b'{"products":['
        body = start + b" " * (size - len(start) - 2) + b"]}"
        async with http.post(path, data=io.BytesIO(body), headers=api.headers()) as response:
            assert response.status == status

    async def test_the_cap_holds_without_a_length(self, api, http) -> None:
        async def chunks():
            for _ in range(40):
                yield b" " * 65_536

        async with http.post("/v1/products", data=chunks(), headers=api.headers()) as response:
            assert (response.status, (await problem_of(response))["code"]) == (413, "too_large")


class TestBodies:
    @pytest.mark.parametrize("body", [b"", b"{", b"NaN", b'{"sku": "\xff"}', b'{"sku":"\\ud800"}'])
    async def test_what_is_not_json_is_400(self, api, http, body) -> None:
        async with http.post("/v1/products", data=body, headers=api.headers()) as response:
            assert (response.status, (await problem_of(response))["code"]) == (400, "malformed_json")

    @pytest.mark.parametrize("path", ["/v1/products", "/v1/products/import", "/v1/channel-accounts"])
    @pytest.mark.parametrize(
        "content_type", ["application/xml", "text/xml", "text/html", "multipart/form-data"]
    )
    async def test_a_body_of_another_form_is_415(self, api, http, path, content_type) -> None:
        headers = api.headers({"Content-Type": content_type})
        async with http.post(path, data=b"{}", headers=headers) as response:
            assert (response.status, (await problem_of(response))["code"]) == (415, "unsupported_media_type")

    async def test_csv_is_taken_where_it_is_declared_and_there_it_must_be_csv(self, api, http) -> None:
        body, headers = json.dumps(PRODUCT), api.headers({"Content-Type": "text/csv; charset=utf-8"})
        for path, status in (("/v1/products", 415), ("/v1/products/import", 422)):
            async with http.post(path, data=body, headers=headers) as response:
                assert response.status == status

    @pytest.mark.parametrize(
        "content_type",
        [
            *("application/json; charset=utf-8", "application/merge-patch+json", "text/plain"),
            *("application/x-www-form-urlencoded", "application/octet-stream"),
        ],
    )
    async def test_json_is_taken_whatever_a_tool_says_by_itself(self, api, http, content_type) -> None:
        headers = api.headers({"Content-Type": content_type})
        async with http.post("/v1/products", data=json.dumps(PRODUCT).encode(), headers=headers) as response:
            assert response.status == 201

    @pytest.mark.parametrize("body", ["[]", "null", "1", '"x"', '{"sku":"a\\u0000","name":"b","unit":"c"}'])
    async def test_json_of_another_form_is_422(self, api, http, body) -> None:
        async with http.post("/v1/products", data=body, headers=api.headers()) as response:
            assert (response.status, (await problem_of(response))["code"]) == (422, "invalid_field")

    async def test_each_wrong_field_is_named_and_no_value_repeated(self, api, http) -> None:
        body = {"sku": "", "name": "x", "unit_price": "twelve", "colour": "sky-blue", "pack_size": 2**40}
        async with http.post("/v1/products", json=body, headers=api.headers()) as response:
            problem = await problem_of(response)
        assert response.status == 422
        assert {error["field"] for error in problem["errors"]} == {
            "sku",
            "unit",
            "unit_price",
            "colour",
            "pack_size",
        }
        assert {error["location"] for error in problem["errors"]} == {"body"}
        assert "twelve" not in json.dumps(problem)
        assert "sky-blue" not in json.dumps(problem)

    @pytest.mark.parametrize(
        ("path", "body", "field", "code"),
        [
            ("/v1/channel-accounts", {**ACCOUNT, "provider": "nobody"}, "provider", "invalid_field"),
            ("/v1/channel-accounts", {**ACCOUNT, "channel": "EMAIL"}, "channel", "invalid_field"),
            ("/v1/channel-accounts", {**ACCOUNT, "address": "12"}, "address", "invalid_field"),
            ("/v1/channel-accounts", {**ACCOUNT, "credentials": {}}, "credentials", "invalid_field"),
            ("/v1/webhook-endpoints", {**ENDPOINT, "url": "https://10.0.0.1/x"}, "url", "url_not_allowed"),
            ("/v1/webhook-endpoints", {**ENDPOINT, "url": "http://93.184.215.14/"}, "url", "url_not_allowed"),
            ("/v1/webhook-endpoints", {**ENDPOINT, "url": "file:///etc/passwd"}, "url", "url_not_allowed"),
            ("/v1/webhook-endpoints", {**ENDPOINT, "event_types": ["x.y"]}, "event_types", "invalid_field"),
            (
                "/v1/webhook-endpoints",
                {**ENDPOINT, "filter": {"a": {"$regex": "x"}}},
                "filter",
                "invalid_field",
            ),
            ("/v1/webhook-endpoints", {**ENDPOINT, "headers": {"Host": "x"}}, "headers", "invalid_field"),
            (
                "/v1/webhook-endpoints",
                {**ENDPOINT, "headers": {"authorization": "x"}, "auth": {"type": "bearer", "token": "t"}},
                "headers",
                "invalid_field",
            ),
        ],
    )
    async def test_rules_of_the_floors_below_name_the_field(self, api, http, path, body, field, code) -> None:
        async with http.post(path, json=body, headers=api.headers()) as response:
            problem = await problem_of(response)
        assert (response.status, problem["code"]) == (422, code)
        assert [error["field"] for error in problem["errors"]] == [field]

    @pytest.mark.parametrize("path", ["/v1/products", "/v1/channel-accounts", "/v1/webhook-endpoints"])
    @pytest.mark.parametrize("depth", [33, 990, 20_000])
    async def test_a_bottomless_body_is_refused(self, api, http, path, depth) -> None:
        body = b"[" * depth + b'"\\u0000"' + b"]" * depth
        async with http.post(path, data=body, headers=api.headers()) as response:
            assert response.status in {400, 422}
            await problem_of(response)

    @pytest.mark.parametrize("field", ["filter", "headers", "name"])
    async def test_a_bottomless_field_is_refused(self, api, http, field) -> None:
        deep = '{"$not":' * 200 + "{}" + "}" * 200
        body = json.dumps({**ENDPOINT, field: 0}).replace(f'"{field}": 0', f'"{field}": {deep}')
        async with http.post("/v1/webhook-endpoints", data=body, headers=api.headers()) as response:
            assert (response.status, (await problem_of(response))["code"]) == (422, "invalid_field")

    async def test_settings_that_could_not_be_given_back_are_422(self, api, http) -> None:
        deep = '{"a":' * 40 + "1" + "}" * 40
        body = json.dumps({**ACCOUNT, "settings": 0}).replace('"settings": 0', f'"settings": {deep}')
        async with http.post("/v1/channel-accounts", data=body, headers=api.headers()) as response:
            assert response.status == 422

    async def test_a_taken_sku_and_address_are_409(self, api) -> None:
        for path, body in (("/v1/products", PRODUCT), ("/v1/channel-accounts", ACCOUNT)):
            assert (await api.post(path, body))[0] == 201
            status, problem = await api.post(path, body)
            assert (status, problem["code"]) == (409, "already_exists")


class TestFailuresOfOurs:
    @pytest.fixture
    async def failing(self, aiohttp_client, runtime):
        async def broken(_request):
            raise RuntimeError("password=hunter2")

        async def away(_request):
            raise DatabaseUnavailable

        app = web.Application(middlewares=MIDDLEWARES)
        app[RUNTIME] = runtime
        app.router.add_get("/broken", broken)
        app.router.add_get("/away", away)
        app.router.add_get("/in/x", broken)
        return await aiohttp_client(app)

    @pytest.mark.parametrize("path", ["/broken", "/in/x"])
    async def test_what_nobody_foresaw_is_500_with_a_constant_text(self, failing, path, capsys) -> None:
        async with failing.get(path) as response:
            problem = await problem_of(response)
        assert (response.status, problem["code"]) == (500, "internal_error")
        assert "hunter2" not in json.dumps(problem)

        logged = capsys.readouterr().out
        assert "RuntimeError" in logged
        assert problem["request_id"] in logged
        assert "hunter2" not in logged

    async def test_a_database_that_is_away_is_503_with_retry_after(self, failing) -> None:
        async with failing.get("/away") as response:
            assert (response.status, (await problem_of(response))["code"]) == (503, "unavailable")
            assert response.headers["Retry-After"] == "5"

    async def test_a_real_database_that_is_away_is_503_too(self, http, api, database) -> None:
        await database.close()
        async with http.get("/v1/tenant", headers=api.headers()) as response:
            assert (response.status, (await problem_of(response))["code"]) == (503, "unavailable")

    async def test_providers_get_the_words_of_the_framework(self, failing) -> None:
        async with failing.get("/in/unknown/account") as response:
            assert (response.status, response.content_type) == (404, "text/plain")
