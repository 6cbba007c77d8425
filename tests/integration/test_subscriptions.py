"""Filters and event types in a real PostgreSQL: the compiled paths against a reference written in Python."""

import json
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.errors import InvalidInput
from handlers.webhooks.event_types import EventType
from handlers.webhooks.events import event_body, event_row
from handlers.webhooks.examples import example
from handlers.webhooks.signing import new_secret
from handlers.webhooks.subscriptions import compile_filter
from tests.seeds import insert_row, tenant_rows

MATCHES = """
    select jsonb_path_match(body.value, $2::text::jsonpath, '{}', true)
    from jsonb_array_elements($1::text::jsonb) body
"""
SEALED = new_secret(random.Random(1).randbytes).encode()

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def connection(admin_dsn: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(admin_dsn)
    yield connection
    await connection.close()


async def _matches(connection: Connection, compiled: str, *bodies: Any) -> list[bool | None]:
    rows = await connection.fetch(MATCHES, json.dumps(bodies), compiled)
    return [row[0] for row in rows]


BODY = {
    "type": "order.created",
    "timestamp": "2026-08-01T12:00:00Z",
    "data": {
        "channel": "SMS",
        "total_amount": 100,
        "price": 99.95,
        "as_text": "100",
        "sku": "00123",
        "nothing": None,
        "review": True,
        "text": 'He said "ñ\\" \U0001f951\n$."x" ? (@ == 1)',
        "address": "+5215512345678",
        "lines": [{"sku": "A", "quantity": 2}, {"sku": "B", "quantity": 5}],
        "none": [],
        "a$b": 1,
    },
}

CASES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"data.channel": "SMS"}, True),
    ({"data.channel": "sms"}, False),
    ({"data.channel": ["EMAIL", "SMS"]}, True),
    ({"data.channel": {"$in": ["EMAIL"]}}, False),
    ({"data.channel": {"$nin": ["EMAIL"]}}, True),
    ({"data.channel": "SMS", "data.review": False}, False),
    ({"data.total_amount": {"$gte": 100}}, True),
    ({"data.total_amount": {"$gt": 100}}, False),
    ({"data.total_amount": {"$gte": 50, "$lt": 100.5}}, True),
    ({"data.total_amount": "100"}, True),
    ({"data.total_amount": "100.0"}, True),
    ({"data.total_amount": {"$gt": "99"}}, True),
    ({"data.total_amount": {"$ne": "100"}}, False),
    ({"data.total_amount": {"$gt": -5}}, True),
    ({"data.total_amount": {"$lt": 2**1000}}, True),
    ({"data.price": 99.95}, True),
    ({"data.price": {"$lt": 99.96, "$gt": 99.94}}, True),
    ({"data.as_text": 100}, True),
    ({"data.as_text": {"$lt": 99}}, False),
    ({"data.as_text": {"$gt": "99"}}, True),  # by number: as texts "100" < "99"
    ({"data.sku": "00123"}, True),
    ({"data.sku": "123"}, False),  # a code is not a number
    ({"data.nothing": None}, True),
    ({"data.missing": None}, False),
    ({"data.missing": {"$ne": 1}}, True),
    ({"data.missing": {"$nin": [1, "x"]}}, True),
    ({"data.missing": {"$gt": 1}}, False),
    ({"data.missing": {"$exists": False}}, True),
    ({"data.nothing": {"$exists": True}}, True),
    ({"data.none": {"$exists": True}}, True),
    ({"data.review": True}, True),
    ({"data.review": "true"}, False),
    ({"data.review": {"$gte": 1}}, False),
    ({"data.address": {"$prefix": "+52"}}, True),
    ({"data.address": {"$prefix": "52"}}, False),
    ({"data.total_amount": {"$prefix": "1"}}, False),
    ({"data.lines.sku": "B"}, True),
    ({"data.lines.sku": {"$ne": "B"}}, False),
    ({"data.lines.quantity": {"$gt": 4}}, True),
    ({"data.lines.sku": {"$exists": True}}, True),
    ({"data.none.sku": {"$exists": True}}, False),
    ({"timestamp": {"$gte": "2026-08-01", "$lt": "2026-08-02"}}, True),
    ({"timestamp": {"$gte": "2026"}}, True),
    ({"timestamp": {"$gte": "2027"}}, False),
    ({"data.text": BODY["data"]["text"]}, True),  # type: ignore[index]
    ({"data.a$b": 1}, True),
    ({"$and": [{"data.channel": "SMS"}, {"data.review": True}]}, True),
    ({"$or": [{"data.channel": "EMAIL"}, {"data.total_amount": {"$lt": 1}}]}, False),
    ({"$not": {"data.channel": "EMAIL"}}, True),
    ({"$not": {}}, False),
    ({"$not": {"data.missing": 1}}, True),
    ({"$or": [{"$not": {"data.review": True}}, {"$and": [{"data.lines.sku": ["B"]}, {}]}]}, True),
]


async def test_every_kind_of_condition_on_a_body(connection):
    found = {
        json.dumps(given_filter): await _matches(connection, compile_filter(given_filter), BODY)
        for given_filter, _ in CASES
    }

    assert found == {json.dumps(given_filter): [expected] for given_filter, expected in CASES}


# The reference: the same rules written down a second time, over Python values.

NUMERIC = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _number(value: Any) -> float | None:
    """A number, also out of a numeric string."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    return float(value) if isinstance(value, str) and NUMERIC.fullmatch(value) else None


def _reach(body: Any, names: list[str]) -> Iterator[Any]:
    """Everything at a path, through arrays."""
    if not names:
        yield body
    elif isinstance(body, list):
        for item in body:
            if isinstance(item, dict):
                yield from _reach(item, names)
    elif isinstance(body, dict) and names[0] in body:
        yield from _reach(body[names[0]], names[1:])


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return found == wanted
    if _number(found) is not None and _number(wanted) is not None:
        return _number(found) == _number(wanted)
    return type(found) is type(wanted) and bool(found == wanted)


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(found: Any, wanted: Any) -> bool:
        left, right = _number(found), _number(wanted)
        if left is not None and right is not None:
            return holds(left, right)
        return isinstance(found, str) and isinstance(wanted, str) and holds(found, wanted)

    return compare


LEAVES: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$in": lambda found, wanted: any(_equal(found, one) for one in wanted),
    "$gt": _ordered(lambda a, b: bool(a > b)),
    "$gte": _ordered(lambda a, b: bool(a >= b)),
    "$lt": _ordered(lambda a, b: bool(a < b)),
    "$lte": _ordered(lambda a, b: bool(a <= b)),
    "$prefix": lambda found, wanted: isinstance(found, str) and found.startswith(wanted),
}


def _leaf(body: Any, path: str, name: str, operand: Any) -> bool:
    reached = list(_reach(body, path.split(".")))
    if name == "$exists":
        return bool(reached) is operand
    if name in {"$ne", "$nin"}:
        return not _leaf(body, path, {"$ne": "$eq", "$nin": "$in"}[name], operand)
    items = [item for value in reached for item in (value if isinstance(value, list) else [value])]
    return any(LEAVES[name](item, operand) for item in items)


def reference(given_filter: dict[str, Any], body: Any) -> bool:
    """Whether the filter matches the body, by the letter of contract §4."""
    for key, value in given_filter.items():
        match key:
            case "$and":
                holds = all(reference(member, body) for member in value)
            case "$or":
                holds = any(reference(member, body) for member in value)
            case "$not":
                holds = not reference(value, body)
            case _ if isinstance(value, dict):
                holds = all(_leaf(body, key, name, operand) for name, operand in value.items())
            case _:
                holds = _leaf(body, key, "$in", value if isinstance(value, list) else [value])
        if not holds:
            return False
    return True


# Texts are either numbers by our grammar or by none.
POOL: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2.5,
    1e300,
    "",
    "x",
    "xy",
    "1",
    "2.5",
    "-1",
    "2026-08",
    'a"b',
    "\U0001f951",
]
SCALARS = [value for value in POOL if isinstance(value, str | int | float) and not isinstance(value, bool)]
SINGLE: list[tuple[str, Any]] = [
    *((name, value) for name in ("$eq", "$ne") for value in POOL),
    *((name, [first, second]) for name in ("$in", "$nin") for first in POOL for second in (None, 1, "x")),
    *((name, value) for name in ("$gt", "$gte", "$lt", "$lte") for value in SCALARS),
    *(("$prefix", value) for value in POOL if isinstance(value, str)),
    ("$exists", True),
    ("$exists", False),
]


async def test_every_operator_agrees_with_the_reference_on_every_pair_of_values(connection):
    told = [
        {},
        {"a": []},
        {"a": {}},
        *({"a": value} for value in POOL),
        *({"a": ["~", value]} for value in POOL),
    ]
    for name, operand in SINGLE:
        given_filter = {"a": {name: operand}}

        found = await _matches(connection, compile_filter(given_filter), *told)

        assert found == [reference(given_filter, body) for body in told], given_filter


# Few names and values, so that filters and bodies meet.
texts = st.sampled_from(["", "x", "xy", "1", "2.5", "-1", "\U0001f951", 'a"b'])
numbers = st.integers(-1, 2) | st.sampled_from([2.5, 1e300])
scalars = st.none() | st.booleans() | numbers | texts
leaves = scalars | st.lists(scalars, max_size=3)
inner = st.fixed_dictionaries({"a": leaves}, optional={"b": leaves})
bodies = st.fixed_dictionaries(
    {"a": leaves | inner}, optional={"b": inner | st.lists(inner | scalars, max_size=3)}
)
paths = st.sampled_from(["a", "a.a", "b", "b.a", "b.b", "c"])
ordered_by = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
operators = (
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars)
    | st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, min_size=1, max_size=3))
    | st.tuples(ordered_by, numbers | texts)
    | st.tuples(st.just("$prefix"), texts)
    | st.tuples(st.just("$exists"), st.booleans())
)
conditions = (
    scalars
    | st.lists(scalars, min_size=1, max_size=3)
    | st.lists(operators, min_size=1, max_size=2).map(dict)
)
fields = st.dictionaries(paths, conditions, min_size=1, max_size=2)
filters = st.recursive(
    fields,
    lambda group: (
        st.fixed_dictionaries({"$and": st.lists(group, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"$or": st.lists(group, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"$not": group})
    ),
    max_leaves=3,
)
property_test = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@property_test
@given(filters, st.lists(bodies, min_size=4, max_size=8))
async def test_compiled_filters_agree_with_the_reference(connection, given_filter, told):
    """Never null, never an error, and the same answer as the reference, for every filter and body."""
    found = await _matches(connection, compile_filter(given_filter), *told)

    assert found == [reference(given_filter, body) for body in told]


@property_test
@given(st.text(), st.text())
async def test_any_text_reaches_the_database_as_itself(connection, key, value):
    """No text of an integrator breaks out of its literal: it equals itself and nothing else."""
    try:
        compiled = compile_filter({f"data.{key}": {"$eq": value, "$prefix": value}})
    except InvalidInput:
        return
    body: Any = value
    for name in reversed(f"data.{key}".split(".")):
        body = {name: body}

    assert await _matches(connection, compiled, body, {}, {"data": {"other": value + "."}}) == [
        True,
        False,
        False,
    ]


async def test_the_caps_still_make_a_path_that_the_database_takes(connection):
    widest = {"$or": [{f"data.k{number}": f"{number}"} for number in range(100)]}
    deepest: dict[str, Any] = {"data.x": 1}
    for _ in range(9):
        deepest = {"$not": deepest}

    assert await _matches(connection, compile_filter(widest), {"data": {"k99": 99}}) == [True]
    assert await _matches(connection, compile_filter(deepest), {"data": {"x": 2}}) == [True]


async def _endpoint(
    connection: Connection, tenant: UUID, event_types: list[str], compiled: str | None = None
) -> UUID:
    endpoint_id = uuid4()
    await connection.execute(
        """
        insert into webhook_endpoints
            (distributor_id, id, name, url, event_types, filter_path, secrets_sealed, created_at, updated_at)
        values ($1, $2, 'ERP', 'https://erp.example.test', $3, $4::text::jsonpath, $5, now(), now())
        """,
        tenant,
        endpoint_id,
        event_types,
        compiled,
        SEALED,
    )
    return endpoint_id


@pytest.fixture
async def tenant(connection: Connection) -> UUID:
    """The tenant of the examples, with their conversation."""
    tenant = example(EventType.ENDPOINT_TEST).distributor_id
    rows = tenant_rows(tenant)
    rows["conversations"]["id"] = example(EventType.MESSAGE_RECEIVED).conversation_id
    for table in ("distributors", "customers", "customer_contacts", "channel_accounts", "conversations"):
        await insert_row(connection, table, rows[table])
    return tenant


@pytest.mark.parametrize("event_type", EventType)
async def test_every_example_is_recorded_as_its_row_says(connection, tenant, event_type):
    endpoint_id = await _endpoint(connection, tenant, [event_type])
    event = example(event_type)

    count = await connection.fetchval(
        "select record_events($1::text::jsonb)", orjson.dumps([event_row(event, 5.0)]).decode()
    )
    stored = await connection.fetchrow(
        "select type, body::text, conversation_id, occurred_at from webhook_events"
    )
    delivery = await connection.fetchrow(
        "select endpoint_id, event_id, status, due_at from webhook_deliveries"
    )

    assert stored is not None
    assert delivery is not None
    assert (1, event_type) == (count, stored["type"])
    number = {"sequence": 1} if event.conversation_id else {}
    assert json.loads(stored["body"]) == event_body(event) | number
    assert (stored["conversation_id"], stored["occurred_at"]) == (event.conversation_id, event.occurred_at)
    assert tuple(delivery) == (endpoint_id, event.id, "PENDING", event.occurred_at + timedelta(seconds=5))


async def test_only_subscriptions_that_match_get_a_delivery(connection, tenant):
    wanted = {
        await _endpoint(connection, tenant, ["*"]),
        await _endpoint(connection, tenant, ["order.*"]),
        await _endpoint(connection, tenant, ["message.sent", "order.created"]),
        await _endpoint(connection, tenant, ["*"], compile_filter({"data.total_amount": {"$gte": "240"}})),
        await _endpoint(connection, tenant, ["*"], compile_filter({})),
    }
    for event_types, given_filter in [
        (["order.updated"], {}),
        (["message.*"], {}),
        (["*"], {"data.total_amount": {"$gt": 240}}),
        (["order.*"], {"data.channel": ["SMS", "EMAIL"]}),
    ]:
        await _endpoint(connection, tenant, event_types, compile_filter(given_filter))

    rows = [event_row(example(EventType.ORDER_CREATED), 0.0)]
    await connection.fetchval("select record_events($1::text::jsonb)", orjson.dumps(rows).decode())

    found = await connection.fetch("select endpoint_id from webhook_deliveries")
    assert {row["endpoint_id"] for row in found} == wanted
