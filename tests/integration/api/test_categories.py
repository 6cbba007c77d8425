"""Product categories: a tree without circles, and products found by it."""

import asyncio
from uuid import uuid4

import pytest

from tests.integration.api.seeds import PRODUCT

CATEGORIES = "/v1/product-categories"


async def make(api, name: str, parent_id: str | None = None) -> str:
    status, category = await api.post(CATEGORIES, {"name": name, "parent_id": parent_id})
    assert status == 201, category
    return str(category["id"])


async def put_product(api, sku: str, category_id: str | None) -> str:
    status, product = await api.post("/v1/products", {**PRODUCT, "sku": sku, "category_id": category_id})
    assert (status, product["category_id"]) == (201, category_id)
    return str(product["id"])


@pytest.fixture
async def tree(api) -> dict[str, str]:
    """Bebidas > Aguas > Con gas, and Lácteos."""
    drinks = await make(api, "Bebidas")
    water = await make(api, "Aguas", drinks)
    return {
        "drinks": drinks,
        "water": water,
        "sparkling": await make(api, "Con gas", water),
        "dairy": await make(api, "Lácteos"),
    }


class TestTree:
    async def test_a_category_tells_where_it_lies(self, api, tree) -> None:
        _, shown = await api.get(f"{CATEGORIES}/{tree['sparkling']}")
        assert (shown["parent_id"], shown["path"]) == (tree["water"], ["Bebidas", "Aguas", "Con gas"])
        paths = [item["path"] for item in await api.walk(CATEGORIES, 3)]
        assert paths == [["Lácteos"], ["Bebidas", "Aguas", "Con gas"], ["Bebidas", "Aguas"], ["Bebidas"]]

    async def test_moving_takes_along_what_is_below(self, api, tree) -> None:
        status, moved = await api.patch(
            f"{CATEGORIES}/{tree['water']}", {"parent_id": tree["dairy"], "position": 3}
        )
        assert (status, moved["path"], moved["position"]) == (200, ["Lácteos", "Aguas"], 3)
        assert (await api.get(f"{CATEGORIES}/{tree['sparkling']}"))[1]["path"] == [
            "Lácteos",
            "Aguas",
            "Con gas",
        ]
        _, top = await api.patch(f"{CATEGORIES}/{tree['water']}", {"parent_id": None})
        assert (top["parent_id"], top["path"], top["position"]) == (None, ["Aguas"], 3)

    @pytest.mark.parametrize("below", ["drinks", "water", "sparkling"])
    async def test_a_circle_is_422(self, api, tree, below) -> None:
        status, problem = await api.patch(f"{CATEGORIES}/{tree['drinks']}", {"parent_id": tree[below]})
        assert status == 422
        assert [error["field"] for error in problem["errors"]] == ["parent_id"]
        assert (await api.get(f"{CATEGORIES}/{tree['drinks']}"))[1]["path"] == ["Bebidas"]

    async def test_two_moves_at_once_make_no_circle(self, api) -> None:
        for number in range(5):
            one, two = await make(api, f"One {number}"), await make(api, f"Two {number}")
            answers = await asyncio.gather(
                api.patch(f"{CATEGORIES}/{one}", {"parent_id": two}),
                api.patch(f"{CATEGORIES}/{two}", {"parent_id": one}),
            )
            assert sorted(status for status, _ in answers) == [200, 422]

    async def test_an_unknown_parent_and_another_tenants_are_422(self, api, other, tree) -> None:
        foreign = await make(other, "Bebidas")
        for parent in (foreign, str(uuid4())):
            status, problem = await api.post(CATEGORIES, {"name": "X", "parent_id": parent})
            assert (status, problem["errors"][0]["field"]) == (422, "parent_id")
            assert (await api.patch(f"{CATEGORIES}/{tree['water']}", {"parent_id": parent}))[0] == 422

    async def test_a_name_is_taken_once_in_a_parent(self, api, tree) -> None:
        assert (await api.post(CATEGORIES, {"name": "AGUAS", "parent_id": tree["drinks"]}))[0] == 409
        assert (await api.post(CATEGORIES, {"name": "bebidas"}))[0] == 409
        assert (await api.post(CATEGORIES, {"name": "Aguas", "parent_id": tree["dairy"]}))[0] == 201
        assert (await api.patch(f"{CATEGORIES}/{tree['dairy']}", {"name": "Bebidas"}))[0] == 409

    async def test_of_a_deleted_one_what_was_below_is_at_the_top_and_products_stay(self, api, tree) -> None:
        product = await put_product(api, "A", tree["water"])
        assert (await api.get(f"{CATEGORIES}/{tree['water']}"))[1]["products"] == 1
        assert (await api.delete(f"{CATEGORIES}/{tree['water']}"))[0] == 204
        assert (await api.get(f"{CATEGORIES}/{tree['sparkling']}"))[1]["path"] == ["Con gas"]
        assert (await api.get(f"/v1/products/{product}"))[1]["category_id"] is None

    async def test_what_cannot_move_to_the_top_keeps_its_parent(self, api, tree) -> None:
        await make(api, "Con gas")
        status, problem = await api.delete(f"{CATEGORIES}/{tree['water']}")
        assert (status, problem["code"]) == (409, "already_exists")
        assert (await api.get(f"{CATEGORIES}/{tree['sparkling']}"))[1]["parent_id"] == tree["water"]


class TestProducts:
    async def test_a_category_finds_those_below_it_too(self, api, tree) -> None:
        for sku, shelf in (("A", "drinks"), ("B", "water"), ("C", "sparkling"), ("D", "dairy")):
            await put_product(api, sku, tree[shelf])
        await put_product(api, "E", None)

        async def skus(shelf: str) -> list[str]:
            return [item["sku"] for item in await api.walk(f"/v1/products?category_id={tree[shelf]}", 2)]

        assert await skus("drinks") == ["C", "B", "A"]
        assert await skus("water") == ["C", "B"]
        assert await skus("dairy") == ["D"]
        assert (await api.get(f"/v1/products?category_id={uuid4()}"))[1]["data"] == []
        assert len((await api.get("/v1/products"))[1]["data"]) == 5

    async def test_a_product_moves_and_an_import_leaves_it_where_it_is(self, api, tree) -> None:
        product = await put_product(api, "A", tree["water"])
        path = f"/v1/products/{product}"
        assert (await api.patch(path, {"name": "new"}))[1]["category_id"] == tree["water"]
        assert (await api.patch(path, {"category_id": tree["dairy"]}))[1]["category_id"] == tree["dairy"]
        row = {"sku": "A", "name": "A", "unit": "pz", "category_id": tree["water"]}
        _, answer = await api.post("/v1/products/import", {"products": [row]})
        assert (answer["updated"], answer["ignored_fields"]) == (1, ["category_id"])
        assert (await api.get(path))[1]["category_id"] == tree["dairy"]
        assert (await api.patch(path, {"category_id": None}))[1]["category_id"] is None

    async def test_an_unknown_category_and_another_tenants_are_422(self, api, other, tree) -> None:
        product = await put_product(api, "A", tree["water"])
        for category in (await make(other, "Bebidas"), str(uuid4())):
            body = {**PRODUCT, "sku": "B", "category_id": category}
            status, problem = await api.post("/v1/products", body)
            assert (status, problem["errors"][0]["field"]) == (422, "category_id")
            assert (await api.patch(f"/v1/products/{product}", {"category_id": category}))[0] == 422
