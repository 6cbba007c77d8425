"""One person is one contact, whether a message shows a number, the provider's id of the person, or both."""

import asyncio
import itertools
from typing import Any

import pytest

from channels.base import ChannelAccount, InboundMessage
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from tests.factories import accepted_item, fetch_rows, inbound, make_account, make_distributor

NUMBER, OTHER_NUMBER = "+15550001111", "+15550003333"
USER, OTHER_USER = "US.13491208655302741918", "US.2222"
BOTH, NUMBER_ONLY, USER_ONLY = (NUMBER, USER), (NUMBER, None), (USER, None)
COUNT = itertools.count()


def said_by(sender: str, user_id: str | None) -> InboundMessage:
    return inbound(key=f"wamid.{next(COUNT)}", sender=sender, sender_user_id=user_id)


@pytest.fixture
async def account(runtime: Runtime) -> ChannelAccount:
    return await make_account(runtime, await make_distributor(runtime))


async def write(runtime: Runtime, account: ChannelAccount, *senders: tuple[str, str | None]) -> None:
    """All of them in one flush."""
    await accept_messages(runtime, [accepted_item(runtime, account, said_by(*sender)) for sender in senders])


async def contacts(runtime: Runtime, account: ChannelAccount) -> list[tuple[Any, ...]]:
    """Address, user id, and how many messages its one conversation has."""
    rows = await fetch_rows(
        runtime,
        account.distributor_id,
        "select k.address, k.provider_user_id, count(m.id) as messages, count(distinct v.id) as conversations"
        " from customer_contacts k left join conversations v on v.contact_id = k.id"
        " left join messages m on m.conversation_id = v.id group by k.id, k.address, k.provider_user_id order by k.address",
    )
    assert {row.pop("conversations") for row in rows} == {1}
    return [tuple(row.values()) for row in rows]


CASES = {
    "both, then the user id": ([BOTH, USER_ONLY], [(NUMBER, USER, 2)]),
    "both, then the number": ([BOTH, NUMBER_ONLY], [(NUMBER, USER, 2)]),
    "the user id, then both": ([USER_ONLY, BOTH], [(NUMBER, USER, 2)]),
    "the user id, both, the number": ([USER_ONLY, BOTH, NUMBER_ONLY], [(NUMBER, USER, 3)]),
    "the number, then both": ([NUMBER_ONLY, BOTH, USER_ONLY], [(NUMBER, USER, 3)]),
    "the user id alone": ([USER_ONLY, USER_ONLY], [(USER, USER, 2)]),
    "said twice": ([(USER, USER), USER_ONLY], [(USER, USER, 2)]),
    "a number that somebody has stays theirs": (
        [USER_ONLY, NUMBER_ONLY, BOTH],
        [(NUMBER, None, 1), (USER, USER, 2)],
    ),
    "a second number of one person": ([BOTH, (OTHER_NUMBER, USER)], [(NUMBER, USER, 2)]),
    "a number that went to another person": (
        [BOTH, (NUMBER, OTHER_USER), (OTHER_USER, None)],
        [(NUMBER, OTHER_USER, 3)],
    ),
    "two people": ([BOTH, (OTHER_NUMBER, OTHER_USER)], [(NUMBER, USER, 1), (OTHER_NUMBER, OTHER_USER, 1)]),
}


@pytest.mark.parametrize(("senders", "expected"), CASES.values(), ids=CASES)
async def test_a_person_is_found_by_the_user_id_first(
    runtime: Runtime,
    account: ChannelAccount,
    senders: list[tuple[str, str | None]],
    expected: list[tuple[Any, ...]],
):
    for sender in senders:
        await write(runtime, account, sender)

    assert await contacts(runtime, account) == expected


@pytest.mark.parametrize("senders", [
    senders for length in (2, 3) for senders in itertools.product([BOTH, USER_ONLY], repeat=length) if BOTH in senders
], ids=lambda senders: "-".join("both" if sender is BOTH else "user" for sender in senders))  # fmt: skip
async def test_one_flush_makes_one_contact(
    runtime: Runtime, account: ChannelAccount, senders: tuple[tuple[str, str | None], ...]
):
    await write(runtime, account, *senders)

    assert await contacts(runtime, account) == [(NUMBER, USER, len(senders))]


async def test_a_flush_of_a_known_person_with_and_without_the_number(
    runtime: Runtime, account: ChannelAccount
):
    await write(runtime, account, USER_ONLY)

    await write(runtime, account, USER_ONLY, BOTH, NUMBER_ONLY, USER_ONLY)

    assert await contacts(runtime, account) == [(NUMBER, USER, 5)]


async def test_parallel_bursts_never_make_two_contacts_of_one_person(
    runtime: Runtime, account: ChannelAccount
):
    kinds = [BOTH, USER_ONLY, (OTHER_NUMBER, USER)]

    await asyncio.gather(*(write(runtime, account, *kinds[place % 3 :]) for place in range(30)))

    (contact,) = await contacts(runtime, account)
    assert contact[1:] == (USER, 60)
    assert contact[0] in {NUMBER, OTHER_NUMBER}


async def test_events_tell_the_address_of_the_contact(runtime: Runtime, account: ChannelAccount):
    await write(runtime, account, BOTH)
    await write(runtime, account, USER_ONLY)

    rows = await fetch_rows(
        runtime,
        account.distributor_id,
        "select type, body #>> '{data,address}' as address from webhook_events order by id",
    )

    assert {row["address"] for row in rows if row["type"] != "conversation.created"} == {NUMBER}
    assert [row["address"] for row in rows if row["type"] == "conversation.created"] == [None]


async def test_a_user_id_of_another_tenant_is_another_person(runtime: Runtime, account: ChannelAccount):
    theirs = await make_account(runtime, await make_distributor(runtime))
    await write(runtime, account, BOTH)

    await write(runtime, theirs, USER_ONLY)

    assert await contacts(runtime, theirs) == [(USER, USER, 1)]


async def test_who_shows_a_number_stays_the_same_customer(runtime: Runtime, account: ChannelAccount):
    await write(runtime, account, USER_ONLY)
    await write(runtime, account, BOTH)

    assert await fetch_rows(runtime, account.distributor_id, "select count(*) as made from customers") == [
        {"made": 1}
    ]
