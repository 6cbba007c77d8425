"""Contacts that are new: one number is one customer, whichever flush comes first, and nobody else waits for it."""

import asyncio
from uuid import UUID

from channels.base import Channel
from db import accept
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from tests.factories import accepted_item, inbound, make_account, make_distributor
from tests.integration.test_concurrency import blocked_by


async def test_one_number_on_two_channels_in_two_flushes_is_one_customer(runtime: Runtime):
    """As two gateways do it: each number's two first messages are stored at the same moment."""
    tenant = await make_distributor(runtime)
    whatsapp, sms = await make_account(runtime, tenant), await make_account(runtime, tenant, Channel.SMS)
    numbers = [f"+1555000{number:04}" for number in range(20)]

    await asyncio.gather(
        *(
            accept_messages(
                runtime,
                [
                    accepted_item(
                        runtime, account, inbound(key=number, sender=number, channel=account.channel)
                    )
                ],
            )
            for number in numbers
            for account in (whatsapp, sms)
        )
    )

    async with runtime.database.tenant(tenant) as connection:
        assert await connection.fetchval("select count(*) from customer_contacts") == 2 * len(numbers)
        assert await connection.fetchval("select count(*) from customers") == len(numbers)
        told = await connection.fetchval(
            "select count(*) from webhook_events where type = 'customer.created'"
        )
    assert told == len(numbers)


async def test_a_new_contact_waits_for_the_other_flush_that_makes_its_customer(
    runtime: Runtime, admin_dsn: str
):
    tenant = await make_distributor(runtime)
    whatsapp, sms = await make_account(runtime, tenant), await make_account(runtime, tenant, Channel.SMS)
    first = [accepted_item(runtime, sms, inbound(channel=Channel.SMS))]
    second = [accepted_item(runtime, whatsapp, inbound())]

    async with runtime.database.worker() as connection:
        await accept.lock_addresses(connection, first)
        await accept.accept_messages(connection, first)
        waiting = asyncio.create_task(accept_messages(runtime, second))
        await blocked_by(admin_dsn)
    await waiting

    async with runtime.database.tenant(tenant) as connection:
        assert await connection.fetchval("select count(*) from customers") == 1


async def test_known_contacts_wait_for_nobodys_first_message(runtime: Runtime):
    account = await make_account(runtime, await make_distributor(runtime))
    await accept_messages(runtime, [accepted_item(runtime, account, inbound())])
    items = [accepted_item(runtime, account, inbound(key="SM2"))]

    async with runtime.database.worker() as connection, asyncio.timeout(10):
        await accept.lock_addresses(connection, items)
        (answer,) = await accept_messages(runtime, items)

    assert not answer.duplicate


async def test_answers_keep_the_order_of_their_items_though_some_contacts_are_new(runtime: Runtime):
    account = await make_account(runtime, await make_distributor(runtime))
    senders = [f"+1555000000{number}" for number in range(6)]

    async def store(*senders: str) -> list[UUID | None]:
        items = [accepted_item(runtime, account, inbound(key=sender, sender=sender)) for sender in senders]
        return [answer.message_id for answer in await accept_messages(runtime, items)]

    known = [(await store(sender))[0] for sender in senders[::2]]

    assert (await store(*senders))[::2] == known
