"""The tenant's settings, its keys and its channel accounts."""

from typing import Any
from uuid import UUID

import pytest

from channels.base import Channel
from channels.credentials import described
from channels.errors import InvalidInput
from channels.registry import build_adapters
from db.accounts import seal_context
from db.distributors import read_tenant
from gateway.keys import ACCOUNTS as DIRECTORY
from handlers.tenants import create_tenant
from tests.integration.api.seeds import ACCOUNT

ACCOUNTS = "/v1/channel-accounts"


class TestCreation:
    async def test_a_tenant_begins_with_a_name_defaults_and_a_key_that_does_not_print(self, runtime) -> None:
        created = await create_tenant(runtime, "  Sur  ", time_zone="America/Lima", currency="PEN")
        assert created.api_key not in repr(created)
        async with runtime.database.tenant(created.distributor_id) as connection:
            tenant = await read_tenant(connection)
        assert (tenant.name, tenant.time_zone, tenant.currency, tenant.locale) == (
            "Sur",
            "America/Lima",
            "PEN",
            "es",
        )

    @pytest.mark.parametrize(("name", "time_zone"), [(" ", "UTC"), ("Sur", "Mars/Olympus")])
    async def test_what_is_wrong_is_named(self, runtime, name, time_zone) -> None:
        with pytest.raises(InvalidInput):
            await create_tenant(runtime, name, time_zone=time_zone)


class TestTenant:
    async def test_read_and_patch(self, api) -> None:
        _, tenant = await api.get("/v1/tenant")
        assert tenant["name"] == "Norte"
        assert (tenant["auto_reply"], tenant["ai_confidence_threshold"]) == ("safe", 0.8)
        change = {
            "name": "Norte SA",
            "time_zone": "America/Mexico_City",
            "locale": "en",
            "currency": "MXN",
            "auto_reply": "all",
            "ai_confidence_threshold": "0.9",
        }
        status, changed = await api.patch("/v1/tenant", change)
        assert status == 200
        assert changed == {**tenant, **change, "ai_confidence_threshold": 0.9}
        assert (await api.get("/v1/tenant"))[1] == changed

    @pytest.mark.parametrize(
        "body",
        [
            {"time_zone": "Mars/Olympus"},
            {"time_zone": "America"},
            {"time_zone": "localtime"},
            {"time_zone": "EST"},
            {"time_zone": "posix/America/Lima"},
            {"time_zone": "../../etc/passwd"},
            {"locale": "fr"},
            {"currency": "pesos"},
            {"auto_reply": "never"},
            {"ai_confidence_threshold": 1.2},
            {"name": "  "},
            {"name": None},
            {"status": "SUSPENDED"},
        ],
    )
    async def test_a_wrong_setting_is_422(self, api, body) -> None:
        before = await api.get("/v1/tenant")
        status, problem = await api.patch("/v1/tenant", body)
        assert (status, problem["errors"][0]["field"]) == (422, next(iter(body)))
        assert before == await api.get("/v1/tenant")


class TestApiKeys:
    async def test_a_key_is_shown_once(self, api) -> None:
        status, key = await api.post("/v1/api-keys", {"name": "erp"})
        assert status == 201
        assert key["api_key"].startswith(key["prefix"])
        _, page = await api.get("/v1/api-keys")
        assert [shown["name"] for shown in page["data"]] == ["erp", "first key"]
        assert all("api_key" not in shown for shown in page["data"])


class TestChannelAccounts:
    async def test_create_adds_the_addresses_for_the_provider(self, api) -> None:
        status, account = await api.post(ACCOUNTS, {**ACCOUNT, "settings": {}})
        assert status == 201
        base = f"https://gw.example.test/in/twilio/{account['id']}"
        assert (account["inbound_url"], account["status_url"]) == (base, f"{base}/status")
        assert account["address"] == "+15005550006"
        assert account["settings"] == {}
        assert "credentials" not in account
        assert (await api.get(f"{ACCOUNTS}/{account['id']}"))[1] == account
        assert (await api.get(ACCOUNTS))[1]["data"] == [account]

    @pytest.mark.parametrize(
        ("settings", "field"),
        [
            ({"label": "ventas"}, "settings.label"),
            (None, "settings"),
            ({"sender_name": ""}, "settings.sender_name"),
            ({"sender_name": "x" * 101}, "settings.sender_name"),
            ({"sender_name": "Ana\nBcc: x@y.example"}, "settings.sender_name"),
            ({"sender_name": None}, "settings.sender_name"),
            ({"typing_indicator": "perhaps"}, "settings.typing_indicator"),
            ({"rate_per_second": 0}, "settings.rate_per_second"),
            ({"rate_per_second": 1000.5}, "settings.rate_per_second"),
            ({"rate_per_second": True}, "settings.rate_per_second"),
        ],
    )
    async def test_settings_that_are_wrong_or_that_nothing_reads_are_refused(
        self, api, settings: Any, field: str
    ) -> None:
        """A slip of the pen (or a wish) that was stored and did nothing would be taken for done."""
        _, account = await api.post(ACCOUNTS, ACCOUNT)
        for answer in (
            await api.post(ACCOUNTS, {**ACCOUNT, "address": "+15005550007", "settings": settings}),
            await api.patch(f"{ACCOUNTS}/{account['id']}", {"settings": settings}),
        ):
            assert (answer[0], answer[1]["errors"][0]["field"]) == (422, field)
        assert (await api.get(f"{ACCOUNTS}/{account['id']}"))[1] == account

    async def test_settings_are_stored_as_given_and_replaced_as_a_whole(self, api) -> None:
        given = {"sender_name": "Bebidas del Valle", "typing_indicator": False, "rate_per_second": 2.5}
        status, account = await api.post(ACCOUNTS, {**ACCOUNT, "settings": given})
        assert (status, account["settings"]) == (201, given)
        path = f"{ACCOUNTS}/{account['id']}"
        assert (await api.patch(path, {"settings": {"rate_per_second": 80}}))[1]["settings"] == {
            "rate_per_second": 80
        }
        assert (await api.get(path))[1]["settings"] == {"rate_per_second": 80}
        assert (await api.patch(path, {"settings": {}}))[1]["settings"] == {}

    def test_the_document_tells_every_providers_credentials(self, document) -> None:
        """An integrator finds the names where they are asked for."""
        create = document.value["components"]["schemas"]["AccountCreate"]
        told = create["properties"]["credentials"]["description"]
        for name, adapter in build_adapters().items():
            assert f"- {name}: `" in told
            assert described(adapter) in told

    async def test_credentials_are_sealed_for_their_row(self, api, admin, runtime) -> None:
        await api.post(ACCOUNTS, ACCOUNT)
        row = await admin.fetchrow("select id, credentials_sealed from channel_accounts")
        opened = runtime.sealer.open_json(
            row["credentials_sealed"], seal_context(api.distributor_id, row["id"])
        )
        assert opened["auth_token"] == ACCOUNT["credentials"]["auth_token"]

    async def test_patch_takes_address_credentials_and_settings(self, api, admin, runtime) -> None:
        _, account = await api.post(ACCOUNTS, ACCOUNT)
        token = "another-token-0123456789abcdef01"
        change = {
            "address": "+1 500 555 0009",
            "settings": {},
            "credentials": {**ACCOUNT["credentials"], "auth_token": token},
        }
        status, changed = await api.patch(f"{ACCOUNTS}/{account['id']}", change)
        assert status == 200
        assert changed == {**account, "address": "+15005550009"}
        row = await admin.fetchrow("select id, credentials_sealed from channel_accounts")
        context = seal_context(api.distributor_id, row["id"])
        assert runtime.sealer.open_json(row["credentials_sealed"], context)["auth_token"] == token

    @pytest.mark.parametrize(
        "body", [{"channel": "EMAIL"}, {"provider": "x"}, {"credentials": {}}, {"address": "1"}]
    )
    async def test_a_wrong_patch_is_422(self, api, body) -> None:
        _, account = await api.post(ACCOUNTS, ACCOUNT)
        assert (await api.patch(f"{ACCOUNTS}/{account['id']}", body))[0] == 422
        assert (await api.get(f"{ACCOUNTS}/{account['id']}"))[1] == account

    async def test_one_address_for_each_channel_of_a_provider(self, api, other) -> None:
        assert (await api.post(ACCOUNTS, ACCOUNT))[0] == 201
        assert (await api.post(ACCOUNTS, {**ACCOUNT, "address": "+15005550006"}))[0] == 409
        assert (await api.post(ACCOUNTS, {**ACCOUNT, "channel": Channel.WHATSAPP}))[0] == 201
        assert (await other.post(ACCOUNTS, ACCOUNT))[0] == 201

    async def test_a_taken_address_is_409_on_patch_too(self, api) -> None:
        await api.post(ACCOUNTS, ACCOUNT)
        _, second = await api.post(ACCOUNTS, {**ACCOUNT, "address": "+15005550009"})
        assert (await api.patch(f"{ACCOUNTS}/{second['id']}", {"address": "+15005550006"}))[0] == 409

    async def test_a_change_counts_at_once_for_what_providers_post(self, api, http) -> None:
        directory = http.app[DIRECTORY]
        _, account = await api.post(ACCOUNTS, ACCOUNT)
        account_id = UUID(account["id"])
        assert (await directory.find(account_id)).address == "+15005550006"
        await api.patch(f"{ACCOUNTS}/{account_id}", {"address": "+15005550009"})
        assert (await directory.find(account_id)).address == "+15005550009"
        await api.delete(f"{ACCOUNTS}/{account_id}")
        assert await directory.find(account_id) is None

    async def test_a_deleted_account_is_gone_and_its_address_free(self, api) -> None:
        _, account = await api.post(ACCOUNTS, ACCOUNT)
        assert await api.delete(f"{ACCOUNTS}/{account['id']}") == (204, None)
        assert (await api.get(f"{ACCOUNTS}/{account['id']}"))[0] == 404
        assert (await api.delete(f"{ACCOUNTS}/{account['id']}"))[0] == 404
        assert (await api.get(ACCOUNTS))[1]["data"] == []
        assert (await api.post(ACCOUNTS, ACCOUNT))[0] == 201
