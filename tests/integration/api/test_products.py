"""The catalogue: shapes, changes, versions, imports."""

import time

import pytest

from tests.integration.api.seeds import PRODUCT

IMPORT = "/v1/products/import"
CSV = {"Content-Type": "text/csv"}


async def version(admin, api):
    return await admin.fetchval(
        "select catalogue_version from distributors where id = $1", api.distributor_id
    )


async def by_sku(api):
    return {item["sku"]: item for item in await api.walk("/v1/products", 200)}


class TestProducts:
    async def test_money_and_quantities_are_numbers_whatever_they_came_as(self, api) -> None:
        body = {
            **PRODUCT,
            "unit_price": "120.50",
            "max_quantity": 40,
            "pack_size": 24,
            "aliases": ["agua chica"],
        }
        status, product = await api.post("/v1/products", body)
        assert status == 201
        assert product.items() >= {**body, "unit_price": 120.5, "brand": None, "active": True}.items()
        assert (await api.get(f"/v1/products/{product['id']}"))[1] == product
        _, page = await api.get("/v1/products")
        assert page == {"data": [product], "next_cursor": None}

    async def test_a_patch_changes_what_it_names(self, api) -> None:
        _, product = await api.post("/v1/products", {**PRODUCT, "brand": "Sol"})
        _, changed = await api.patch(f"/v1/products/{product['id']}", {"brand": None, "unit_price": 99})
        assert changed == {**product, "brand": None, "unit_price": 99}
        assert (await api.get(f"/v1/products/{product['id']}"))[1] == changed

    @pytest.mark.parametrize(
        "body",
        [
            {"name": None},
            {"sku": ""},
            {"unit_price": True},
            {"pack_size": 0},
            {"pack_size": 1.5},
            {"id": "x"},
        ],
    )
    async def test_a_patch_with_a_wrong_value_changes_nothing(self, api, body) -> None:
        _, product = await api.post("/v1/products", PRODUCT)
        assert (await api.patch(f"/v1/products/{product['id']}", body))[0] == 422
        assert (await api.get(f"/v1/products/{product['id']}"))[1] == product

    @pytest.mark.parametrize("field", ["sku", "name"])
    @pytest.mark.parametrize("text", ["AGUA\x1b[31m", "AGUA\u202e006", "AGUA\n600"])
    async def test_a_name_that_would_be_shown_as_another_is_422(self, api, field, text) -> None:
        status, problem = await api.post("/v1/products", {**PRODUCT, field: text})
        assert (status, [error["field"] for error in problem["errors"]]) == (422, [field])
        status, result = await api.post(IMPORT, {"products": [{**PRODUCT, field: text}, PRODUCT]})
        assert (status, result["created"], [error["row"] for error in result["errors"]]) == (200, 1, [1])

    async def test_a_taken_sku_is_409_on_patch_too(self, api) -> None:
        _, product = await api.post("/v1/products", PRODUCT)
        await api.post("/v1/products", {**PRODUCT, "sku": "B"})
        assert (await api.patch(f"/v1/products/{product['id']}", {"sku": "B"}))[0] == 409

    async def test_a_deleted_product_is_gone(self, api) -> None:
        _, product = await api.post("/v1/products", PRODUCT)
        assert await api.delete(f"/v1/products/{product['id']}") == (204, None)
        assert (await api.get(f"/v1/products/{product['id']}"))[0] == 404

    async def test_each_change_counts_the_catalogue_up_and_a_refused_one_does_not(self, api, admin) -> None:
        versions = [await version(admin, api)]
        _, product = await api.post("/v1/products", PRODUCT)
        versions.append(await version(admin, api))
        await api.patch(f"/v1/products/{product['id']}", {"name": "x"})
        versions.append(await version(admin, api))
        await api.post(IMPORT, {"products": [PRODUCT]})
        versions.append(await version(admin, api))
        await api.post("/v1/products", PRODUCT)
        await api.delete(f"/v1/products/{product['id']}")
        versions.append(await version(admin, api))
        assert versions == [versions[0] + step for step in range(5)]


class TestImport:
    async def test_5000_rows_in_one_go(self, api, admin) -> None:
        rows = [
            {"sku": f"S-{n}", "name": f"Product {n}", "unit": "pz", "unit_price": n, "aliases": [f"p{n}"]}
            for n in range(5_000)
        ]
        began = time.monotonic()
        status, answer = await api.post(IMPORT, {"products": rows})
        again, repeated = await api.post(IMPORT, {"products": rows})
        seconds = time.monotonic() - began

        assert (status, answer) == (200, {"created": 5_000, "updated": 0, "errors": [], "ignored_fields": []})
        assert (again, repeated["created"], repeated["updated"]) == (200, 0, 5_000)
        assert await admin.fetchval("select count(*) from products") == 5_000
        assert seconds < 30  # a statement per row would take longer

    async def test_good_rows_are_stored_beside_bad_ones(self, api) -> None:
        rows = [
            PRODUCT,
            {"sku": "NO-NAME", "unit": "pz"},
            "text",
            {"sku": "NEGATIVE", "name": "x", "unit": "pz", "unit_price": -1},
            {**PRODUCT, "name": "again"},
            {"sku": "B", "name": "b", "unit": "pz", "colour": "red"},
        ]
        status, answer = await api.post(IMPORT, {"products": rows})
        assert (status, answer["created"], answer["updated"]) == (200, 2, 0)
        assert [(error["row"], error["sku"]) for error in answer["errors"]] == [
            (2, "NO-NAME"),
            (3, None),
            (4, "NEGATIVE"),
            (5, "AGUA-600"),
        ]
        assert answer["ignored_fields"] == ["colour"]
        assert (await by_sku(api)).keys() == {"AGUA-600", "B"}

    async def test_fields_that_the_data_does_not_name_stay(self, api) -> None:
        await api.post("/v1/products", {**PRODUCT, "brand": "Sol", "aliases": ["agua"], "active": False})
        before = (await by_sku(api))["AGUA-600"]
        row = {"sku": "AGUA-600", "name": "Agua", "unit": "caja", "unit_price": None}
        _, answer = await api.post(IMPORT, {"products": [row]})
        assert (answer["created"], answer["updated"]) == (0, 1)
        after = (await by_sku(api))["AGUA-600"]
        assert after == {**before, "name": "Agua", "unit_price": None}

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    async def test_csv(self, api, separator) -> None:
        lines = [
            ["SKU", "name", "unit", "unit_price", "aliases", "pack_size", "active", "shelf"],
            ["A", '"Agua ""Sol"" 600 ml"', "caja", "120.50", "agua|agüita| botella ", "24", "", "7"],
            ["B", "Jugo", "pz", "", "", "", "false", ""],
            ["", "No sku", "pz", "", "", "", "", ""],
            ["C", "Too many", "pz", "", "", "", "", "", "more"],
        ]
        text = "\ufeff" + "\r\n".join(separator.join(line) for line in lines) + "\r\n\r\n"
        status, answer = await api.call("POST", IMPORT, data=text.encode(), headers=CSV)

        assert (status, answer["created"]) == (200, 2)
        assert [error["row"] for error in answer["errors"]] == [3, 4]
        assert answer["ignored_fields"] == ["shelf"]
        products = await by_sku(api)
        assert products["A"]["name"] == 'Agua "Sol" 600 ml'
        assert products["A"]["aliases"] == ["agua", "agüita", "botella"]
        assert (products["A"]["unit_price"], products["A"]["pack_size"]) == (120.5, 24)
        assert (products["A"]["active"], products["B"]["active"]) == (True, False)
        assert (products["B"]["unit_price"], products["B"]["aliases"]) == (None, [])

    @pytest.mark.parametrize(
        "text", [b"", b"sku,name\nA,b\n", b'sku,name,unit\n"A', b"\xff\xfe", b"sku,name,unit\nA,b\0,c"]
    )
    async def test_what_is_no_csv_of_products_is_422(self, api, text) -> None:
        status, problem = await api.call("POST", IMPORT, data=text, headers=CSV)
        assert (status, problem["code"]) == (422, "invalid_field")

    async def test_too_many_rows_are_422(self, api) -> None:
        status, _ = await api.post(IMPORT, {"products": [0] * 50_001})
        assert status == 422

    async def test_an_import_of_nothing_is_fine(self, api) -> None:
        status, answer = await api.post(IMPORT, {"products": []})
        assert (status, answer["created"]) == (200, 0)
