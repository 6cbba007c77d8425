"""The check that every test with a database ends with finds what is wrong: else it would prove nothing."""

from typing import Any

import asyncpg
import pytest
from jsonschema import ValidationError

from channels.base import MessageStatus
from handlers.inbound import accept_messages, accept_statuses
from handlers.runtime import Runtime
from tests.event_bodies import check_stored_bodies
from tests.factories import accepted_item, inbound, make_account, make_distributor
from tests.integration.test_concurrency import status
from tests.integration.test_outbound import open_desk

WRONG = [
    ("body - 'timestamp' || '{\"timestamp\": \"yesterdayZ\"}'", ValidationError),
    ("body #- '{data,message_id}'", ValidationError),
    ("body #- '{data,address}'", AssertionError),
    ("jsonb_set(body, '{data,customer_id}', '7')", ValidationError),
    ("jsonb_set(body, '{data,status}', '\"SEEN\"')", ValidationError),
    ("jsonb_set(body, '{data,more}', '1')", AssertionError),
    ("jsonb_set(body, '{sequence}', '99')", AssertionError),
    ("body - 'sequence'", AssertionError),
    ("jsonb_set(body, '{type}', '\"message.sent\"')", AssertionError),
]


@pytest.mark.parametrize(("change", "error"), WRONG, ids=[change for change, _ in WRONG])
async def test_a_wrong_body_is_found(
    runtime: Runtime, admin_dsn: str, change: str, error: type[Exception]
) -> None:
    account = await make_account(runtime, await make_distributor(runtime))
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    await check_stored_bodies(runtime.database)
    admin = await asyncpg.connect(admin_dsn)
    await admin.execute(f"update webhook_events set body = {change} where type = 'message.received'")

    with pytest.raises(error):
        await check_stored_bodies(runtime.database)

    await admin.execute("delete from webhook_events")
    await admin.close()


async def test_bodies_of_what_sql_alone_knows_are_among_those_that_are_checked(runtime: Runtime) -> None:
    """The ids of a contact and a message that only the statement finds are laid over what the program made."""
    desk = await open_desk(runtime)
    message_id = await desk.queue()
    await desk.claim()
    items: list[dict[str, Any]] = [await status(desk, MessageStatus.DELIVERED, message_id)]
    await accept_statuses(runtime, items)

    await check_stored_bodies(runtime.database)

    told = await desk.rows(
        "select type, body -> 'data' ->> 'customer_id' as customer from webhook_events order by sequence"
    )
    assert [row["type"] for row in told] == [
        "customer.created",
        "conversation.created",
        "message.received",
        "message.sent",
        "message.status_changed",
    ]
    assert len({row["customer"] for row in told}) == 1
