"""Strange values in every field of every operation: never a failure of ours, always what the document promises."""

import copy
from typing import Any

import pytest
from yarl import URL

from gateway.api.operations import Operation
from gateway.api.routes import OPERATIONS
from tests.integration.api.conftest import Api
from tests.integration.api.test_access import VALID_BODIES, ids_of, path_of

STRANGE_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    999_999_999,
    2**31,
    2**63,
    10**30,
    1e308,
    "",
    " ",
    "x" * 300,
    "\u0000",
    "\u202e\ud7ff\U0001f600",
    "%00'\";--",
    "1e400",
    "999999999.999",
    [],
    [None],
    [[[]]],
    ["a", "a"],
    {},
    {"$gt": 1},
    {"": {"a": [1, None]}},
    {"data.x": {"$in": [1, "a", None, 1e308]}},
]
STRANGE_TEXTS = [
    "",
    " ",
    "-1",
    "999999999999999999999",
    "true",
    "\u202e",
    "x" * 1_500,
    "'",
    "%",
    "2026-13-01",
    "evt_",
    "\n",
]
WITH_BODY = [operation for operation in OPERATIONS if operation.body]
WITH_QUERY = [operation for operation in OPERATIONS if operation.query.model_fields]


def by_name(operation: Operation) -> str:
    return operation.name


def mutations(body):
    """The body with one field, or one field of its first item, replaced by each strange value."""
    for name, value in body.items():
        for strange in STRANGE_VALUES:
            yield {**body, name: strange}
            if isinstance(value, list) and value and isinstance(value[0], dict):
                for inner in value[0]:
                    changed = copy.deepcopy(body)
                    changed[name][0][inner] = strange
                    yield changed


def every_field(operation: Operation):
    body = dict.fromkeys(operation.body.model_fields) if operation.body else {}
    return {**body, **VALID_BODIES[operation.name]}


@pytest.mark.parametrize("operation", WITH_BODY, ids=by_name)
async def test_strange_bodies(api: Api, seeds, operation: Operation) -> None:
    ids = await ids_of(api, seeds)
    path = path_of(operation, ids)
    for body in mutations(every_field(operation)):
        status, _ = await api.call(operation.method, path, json=body)
        assert status < 500, body


@pytest.mark.parametrize("operation", WITH_QUERY, ids=by_name)
async def test_strange_queries(api: Api, seeds, operation: Operation) -> None:
    path = operation.path.replace("{id}", str(await seeds.conversation()))
    for name in operation.query.model_fields:
        for text in STRANGE_TEXTS:
            status, _ = await api.get(str(URL(path).with_query({name: text})))
            assert status < 500, (name, text)
