"""The schema as the catalogue tells it: its tables, keys, links, indexes and types; and what holds each of the faults
of the platform's old schema, X1 to X20 of its domain model, away from this one.
"""

import importlib
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.catalogue import Index, Reference, read_columns, read_comments, read_indexes, read_references
from tests.seeds import TABLES, insert_row, tenant_column, tenant_rows

pytestmark = pytest.mark.every_postgres
MINE, THEIRS = UUID(int=1), UUID(int=2)

CATEGORIES = {
    "1 Tenancy & authentication": "distributors distributor_usage user_profiles user_invitations user_sessions role_permissions api_keys",
    "2 Customers": "customers customer_contacts customer_labels customer_label_assignments",
    "3 Messaging": "channel_accounts inbound_events conversations messages attachments message_status_events message_templates",
    "4 Orders": "orders order_products conversation_order_sessions order_session_items order_session_events",
    "5 Catalogue": "products product_categories product_variants product_matching_history",
    "6 AI": "ai_responses ai_usage_metrics ai_budgets ai_training_data",
    "7 Security & privacy": "data_access_audit security_audit_log pii_detection_rules pii_detection_results data_retention_policies data_subject_requests encryption_keys",
    "8 Integrations": "external_integrations external_message_mappings webhook_endpoints webhook_endpoint_state webhook_events webhook_deliveries webhook_delivery_attempts webhook_replays idempotency_keys",
}
FIRST_MIGRATIONS = [
    "tenancy", "partitions", "users", "api_access", "customers", "channels", "messaging", "catalogue", "orders",
    "order_sessions", "ai", "webhooks", "audit", "privacy", "upkeep",
]  # fmt: skip

# Unique keys that do not begin with the tenant.
UNIQUE_BY_THEMSELVES = {
    "distributors_pkey": "the tenant itself",
    "customers_pkey": "`select c.* … group by c.id` works in hand-written SQL; (distributor_id, id) is unique beside it",
    "channel_accounts_id": "the address that providers post to names an account before its tenant is known",
    "user_profiles_id": "one identity belongs to one tenant, which its sign-in selects",
    "api_keys_key_hash_key": "a key names its tenant; a hash of 256 random bits tells nothing of others",
    "user_invitations_token_hash_key": "a token names its tenant; a hash of 256 random bits tells nothing of others",
    "user_sessions_token_hash_key": "a token names its tenant; a hash of 256 random bits tells nothing of others",
}
# Lookups across tenants that name no single row.
ACROSS_TENANTS = {
    "channel_accounts_route": "a post to several accounts names each by the provider's id, before its tenant is known",
    "webhook_endpoints_id": "public keys are read by the endpoint's id, before its tenant is known",
    "webhook_endpoint_state_due": "the worker looks for whatever is due, of all tenants",
    "webhook_replays_due": "the worker looks for whatever is due, of all tenants",
}
WITHOUT_PRIMARY_KEY = {
    "ai_usage_metrics": "its key holds NULL where no model was asked; it is unique, NULLS NOT DISTINCT"
}
OUTLIVES = "longer-lived than messages, which are retired by partition: a referenced partition could not go"
MARK = "a claim's mark, made up by whoever claims: no row has it"
# Ids that are no foreign key.
LOOSE_IDS = {
    "attachments.message_id": OUTLIVES,
    "ai_responses.message_id": OUTLIVES,
    "orders.source_message_id": OUTLIVES,
    "order_session_items.source_message_id": OUTLIVES,
    "order_session_events.message_id": OUTLIVES,
    "external_message_mappings.message_id": OUTLIVES + "; a status callback's is that of its record",
    "messages.turn_message_id": "of another partition, which goes before this one",
    "messages.inbound_event_id": "inbound_events are kept for days, messages for months",
    "webhook_replays.last_event_id": "how far a replay got; events are retired by partition",
    "webhook_deliveries.replay_id": "the replay that sent it again; a replay goes with its endpoint only",
    "webhook_deliveries.ordering_key": "what is delivered in order: today a conversation, whatever it is by then",
    "data_access_audit.actor_id": "of a person, an API key or nobody, and an audit outlives them",
    "data_access_audit.record_id": "of any table, and an audit outlives what it tells of",
    "data_access_audit.request_id": "of a request: no row",
    "security_audit_log.subject_id": "of an account, an API key or a person, and an audit outlives them",
    "pii_detection_results.record_id": "of any table",
    "conversations.turn_lease_token": MARK,
    "messages.send_lease_token": MARK,
    "inbound_events.fetch_lease_token": MARK,
    "attachments.fetch_lease_token": MARK,
    "attachments.inbound_event_id": "inbound_events are kept for days; a file is fetched within them",
    "webhook_deliveries.lease_token": MARK,
}
# Columns of a closed set of words that may be NULL.
NULL_WORDS = {
    "conversations.language": "not known before something was understood",
    "message_templates.channel": "for every channel",
    "customer_contacts.opt_out_reason": "nothing stopped messages to it",
    "messages.ai_skip_reason": "a turn follows or followed",
    "conversation_order_sessions.outcome": "the session is still open",
    "webhook_replays.end_reason": "it was not cancelled",
}
# Unique keys in which one NULL may stand beside another.
NULLS_APART = {"orders_open_draft": "orders without a conversation are not held to one draft"}
# Amounts of money, each with the column that says in which currency.
CURRENCIES = {
    "products.unit_price": "distributors.currency",
    "product_variants.unit_price": "distributors.currency",
    "order_session_items.unit_price": "distributors.currency",
    "customers.total_spent": "distributors.currency",
    "order_products.unit_price": "orders.currency",
    "order_products.line_total": "orders.currency",
    "orders.total_amount": "orders.currency",
}

# What is called a key and opens nothing: names that providers give.
PUBLIC_KEYS = {
    "inbound_events.provider_key",
    "inbound_events.parked_key",
    "attachments.store_key",
    "external_message_mappings.provider_key",
    "conversations.thread_key",
}

# Each fault of the old schema, with the tests that would fail if it came back.
FAULTS: dict[str, tuple[str, ...]] = {
    "X1 triggers that break other tables' inserts": ("test_schema::test_no_trigger_works_behind_a_statement",),
    "X2 child tables without a tenant": ("test_schema::test_every_row_names_its_tenant",),
    "X3 rows of two tenants linked": (
        "test_isolation::test_a_row_cannot_point_into_another_tenant",
        "test_schema::test_every_foreign_key_carries_the_tenant",
    ),
    "X4 keys unique across tenants": ("test_schema::test_a_unique_key_is_a_tenants_own",),
    "X5 a setting that bypasses": ("test_isolation::test_no_setting_opens_another_tenants_rows",),
    "X6 a tenant that leaks through a pool": ("test_isolation::test_two_tenants_on_one_pooled_connection",),
    "X7 functions with their owner's rights": (
        "test_rights::test_what_runs_as_the_owner_is_the_owners_and_looks_where_it_was_told",
        "test_rights::test_every_function_is_called_by_whom_it_is_for",
        "test_isolation::test_what_a_session_slips_in_never_runs_as_the_owner",
    ),
    "X8 views with their owner's rights": ("test_rights::test_views_work_with_the_callers_rights",),
    "X9 an OPERATOR that makes itself OWNER": ("test_user_roles::test_an_operator_cannot_raise_itself",),
    "X10 least rights that cannot work": ("test_queries::test_a_statement_can_be_prepared_by_its_role",),
    "X11 policies that add up or check one side": (
        "test_rights::test_a_tenants_rows_have_one_policy_per_command_with_its_check",
    ),
    "X12 logs that keep a row from being erased": (
        "test_schema::test_no_reference_keeps_a_row_from_being_erased",
        "test_schema::test_a_tenant_goes_with_everything",
    ),
    "X13 ids without a foreign key": ("test_schema::test_an_id_without_a_foreign_key_has_a_reason",),
    "X14 a status that may be NULL": ("test_schema::test_a_closed_set_of_words_is_filled",),
    "X15 NULL beside NULL in a unique key": ("test_schema::test_a_unique_key_takes_one_null_for_another",),
    "X16 money and quantities that are cut off": (
        "test_schema::test_money_is_exact_and_has_a_currency",
        "test_schema::test_quantities_have_fractions_and_costs_are_in_micro_dollars",
    ),
    "X17 fast tables in one piece": ("test_partitions::test_every_fast_table_is_partitioned_and_kept_for_a_time",),
    "X18 indexes twice or not at all": (
        "test_schema::test_no_index_is_there_twice",
        "test_schema::test_every_foreign_key_is_indexed",
        "test_schema::test_every_index_begins_with_the_tenant",
    ),
    "X19 documents, types and schema that disagree": (
        "test_database_docs::test_a_document_says_what_the_database_says",
        "test_queries::test_a_statement_can_be_prepared_by_its_role",
    ),
    "X20 secrets in clear": ("test_schema::test_no_secret_is_stored_in_clear",),
}  # fmt: skip


def test_each_fault_of_the_old_schema_is_held_off():
    assert [fault.partition(" ")[0] for fault in FAULTS] == [f"X{number}" for number in range(1, 21)]
    for held_by in FAULTS.values():
        assert held_by
        for name in held_by:
            module, _, test = name.partition("::")
            assert callable(getattr(importlib.import_module(f"tests.integration.{module}"), test))


async def test_there_are_47_tables_in_8_categories(catalogue: Any):
    found: dict[str, set[str]] = {}
    for table, comment in (await read_comments(catalogue)).items():
        written = re.fullmatch(r"\[(\d [\w &]+)\] \S.*\.", comment, re.DOTALL)
        assert written, f"{table}: {comment}"
        found.setdefault(written[1], set()).add(table)

    assert found == {category: set(tables.split()) for category, tables in CATEGORIES.items()}
    assert (sum(map(len, found.values())), len(found)) == (47, 8)


async def test_the_first_15_migrations_made_them(catalogue: Any):
    rows = await catalogue.fetch(
        "select version, name from schema_migrations where version <= 15 order by version"
    )

    assert [tuple(row) for row in rows] == list(enumerate(FIRST_MIGRATIONS, 1))


async def test_no_trigger_works_behind_a_statement(catalogue: Any):
    rows = await catalogue.fetch(
        "select t.tgname, c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid"
        " where not t.tgisinternal and c.relnamespace = 'public'::regnamespace"
    )

    assert rows == []


async def test_every_row_names_its_tenant(catalogue: Any):
    columns = {str(column): column for column in await read_columns(catalogue)}
    bound = {reference.child for reference in await read_references(catalogue)}

    for table in set(TABLES) - {"distributors"}:
        column = columns[f"{table}.distributor_id"]
        assert (column.type, column.filled) == ("uuid", True), table
    assert bound == set(TABLES) - {"distributors"}


async def test_every_foreign_key_carries_the_tenant(catalogue: Any):
    for reference in await read_references(catalogue):
        pairs = list(zip(reference.columns, reference.targets, strict=True))
        assert pairs[0] == ("distributor_id", tenant_column(reference.parent)), reference
        assert len(pairs) == 1 or reference.parent != "distributors", reference


async def test_a_unique_key_is_a_tenants_own(catalogue: Any):
    uniques = [index for index in await read_indexes(catalogue) if index.unique]

    assert {index.name for index in uniques if index.columns[0] != "distributor_id"} == set(
        UNIQUE_BY_THEMSELVES
    )


async def test_every_index_begins_with_the_tenant(catalogue: Any):
    indexes = await read_indexes(catalogue)

    assert {index.name for index in indexes if index.columns[0] != "distributor_id"} == set(
        UNIQUE_BY_THEMSELVES | ACROSS_TENANTS
    )


async def test_every_table_has_a_primary_key(catalogue: Any):
    rows = await catalogue.fetch("select indrelid::regclass::text as name from pg_index where indisprimary")

    assert set(TABLES) - {row["name"] for row in rows} == set(WITHOUT_PRIMARY_KEY)


async def test_an_id_without_a_foreign_key_has_a_reason(catalogue: Any):
    linked = {
        f"{reference.child}.{column}"
        for reference in await read_references(catalogue)
        for column in reference.columns
    }
    ids = {
        str(column)
        for column in await read_columns(catalogue)
        if column.type == "uuid" and column.name != "id"
    }

    assert ids - linked == set(LOOSE_IDS)


async def test_no_reference_keeps_a_row_from_being_erased(catalogue: Any):
    """Each goes with its parent or forgets it, and then that one column alone, never the tenant with it."""
    forgetting = await catalogue.fetch(
        "select conname, pg_get_constraintdef(oid) as rule from pg_constraint where contype = 'f' and confdeltype = 'n'"
    )

    assert {reference.on_delete for reference in await read_references(catalogue)} == {"c", "n"}
    for row in forgetting:
        assert re.search(r"ON DELETE SET NULL \((?!distributor_id)\w+\)$", row["rule"]), row


@pytest.fixture
async def owner(admin_dsn: str) -> AsyncIterator[Any]:
    """The owner's connection to a database in which two tenants have a row in every table."""
    connection = await asyncpg.connect(admin_dsn)
    for tenant in (MINE, THEIRS):
        for table, row in tenant_rows(tenant).items():
            await insert_row(connection, table, row)
    await connection.execute("set role waystation_owner")
    yield connection
    await connection.close()


async def test_a_tenant_goes_with_everything(owner: Any):
    await owner.execute("delete from distributors where id = $1", MINE)

    for table in TABLES:
        rows = await owner.fetch(f"select {tenant_column(table)} as tenant from {table}")
        assert [row["tenant"] for row in rows] == [THEIRS], table


async def test_a_customer_goes_and_what_others_need_stays(owner: Any):
    await owner.execute("delete from customers where distributor_id = $1", MINE)

    for table in ("messages", "orders", "conversations", "customer_contacts", "data_subject_requests"):
        kept = await owner.fetch(f"select customer_id from {table} where distributor_id = $1", MINE)
        assert [row["customer_id"] for row in kept] == [None], table
    assert (
        await owner.fetchval(
            "select count(*) from customer_label_assignments where distributor_id = $1", MINE
        )
        == 0
    )


async def test_a_closed_set_of_words_is_filled(catalogue: Any):
    rows = await catalogue.fetch(
        "select c.relname || '.' || a.attname as name from pg_constraint k join pg_class c on c.oid = k.conrelid"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum = k.conkey[1]"
        " where k.contype = 'c' and cardinality(k.conkey) = 1 and not c.relispartition and not a.attnotnull"
        " and c.relnamespace = 'public'::regnamespace and pg_get_constraintdef(k.oid) like '%= ANY (ARRAY[%'"
    )

    assert {row["name"] for row in rows} == set(NULL_WORDS)


async def test_a_unique_key_takes_one_null_for_another(catalogue: Any):
    filled = {str(column): column.filled for column in await read_columns(catalogue)}
    apart = set()
    for index in await read_indexes(catalogue):
        open_columns = [name for name in index.columns if not filled.get(f"{index.table}.{name}", True)]
        left_out = all(f"{name} IS NOT NULL" in index.predicate for name in open_columns)
        if index.unique and not index.nulls_equal and not left_out:
            apart.add(index.name)

    assert apart == set(NULLS_APART)


def serves(index: Index, reference: Reference) -> bool:
    """Whether rows that refer to a parent are found by the index."""
    wanted = set(reference.columns)
    whole = not index.predicate or index.predicate in {f"({column} IS NOT NULL)" for column in wanted}
    return index.table == reference.child and set(index.columns[: len(wanted)]) == wanted and whole


async def test_every_foreign_key_is_indexed(catalogue: Any):
    indexes = await read_indexes(catalogue)

    for reference in await read_references(catalogue):
        assert any(serves(index, reference) for index in indexes), reference


def is_covered(index: Index, by: Index) -> bool:
    """Whether ``by`` finds all that ``index`` finds; it may be longer, and be read backwards."""
    same = (index.table, index.predicate) == (by.table, by.predicate)
    begins = by.columns[: len(index.columns)] == index.columns
    return same and begins and (not index.unique or (by.unique and index.columns == by.columns))


async def test_no_index_is_there_twice(catalogue: Any):
    indexes = await read_indexes(catalogue)

    assert [
        (index.name, other.name)
        for index in indexes
        for other in indexes
        if other is not index and is_covered(index, other)
    ] == []


async def test_money_is_exact_and_has_a_currency(catalogue: Any):
    columns = {str(column): column for column in await read_columns(catalogue)}
    money = {
        name for name, column in columns.items()
        if column.type.startswith("numeric") and re.search("price|amount|spent|total", column.name)
    }  # fmt: skip

    assert money == set(CURRENCIES)
    for name, currency in CURRENCIES.items():
        assert re.fullmatch(r"numeric\(\d+,4\)", columns[name].type), name
        assert columns[currency].filled
    assert not [
        name for name, column in columns.items() if column.type in {"real", "double precision", "money"}
    ]


async def test_quantities_have_fractions_and_costs_are_in_micro_dollars(catalogue: Any):
    columns = {str(column): column for column in await read_columns(catalogue)}

    for name, column in columns.items():
        if "quantity" in column.name:
            assert column.type == "numeric(12,3)", name
        if "cost" in column.name or column.name.endswith("_usd"):
            assert (column.type, column.name.endswith("_micro_usd")) == ("bigint", True), name


async def test_no_secret_is_stored_in_clear(catalogue: Any):
    """Sealed or hashed, so bytes; the only tokens in numbers are what a model counts."""
    secret = re.compile("secret|token|password|credential|_key$")
    readable = {
        str(column)
        for column in await read_columns(catalogue)
        if column.type == "text" and secret.search(column.name)
    }

    assert readable == PUBLIC_KEYS
