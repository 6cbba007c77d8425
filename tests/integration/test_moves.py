"""A person whose WhatsApp number or user id changes stays the same contact; nobody is made one with somebody else."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from channels.base import ChannelAccount, InboundMessage, MessageType
from handlers.inbound import accept_messages
from handlers.runtime import Runtime
from tests.factories import accepted_item, fetch_rows, inbound, make_account, make_distributor
from tests.fakes import FakeClock
from tests.unit.channels.whatsapp_cloud_cases import fixture, items_of

OLD, NEW, THIRD = "+34600123456", "+34600999888", "+34600777777"
OLD_ID, NEW_ID, OTHER_ID = "ES.1349", "ES.2000", "ES.3000"
COUNT = itertools.count()


@dataclass(frozen=True)
class Stage:
    runtime: Runtime
    account: ChannelAccount
    clock: FakeClock

    async def take(self, *messages: InboundMessage) -> None:
        """All of them in one flush."""
        await accept_messages(
            self.runtime, [accepted_item(self.runtime, self.account, message) for message in messages]
        )

    async def contacts(self) -> list[tuple[Any, ...]]:
        """Number or id, user id, and how many messages of the person there are."""
        rows = await fetch_rows(
            self.runtime,
            self.account.distributor_id,
            "select k.address, k.provider_user_id, count(m.id) as messages from customer_contacts k"
            " left join conversations v on v.contact_id = k.id left join messages m on m.conversation_id = v.id"
            " group by k.id, k.address, k.provider_user_id order by k.id",
        )
        return [tuple(row.values()) for row in rows]

    async def conversation(self) -> dict[str, Any]:
        (row,) = await fetch_rows(
            self.runtime,
            self.account.distributor_id,
            "select v.unread_count, v.last_inbound_at, v.turn_generation, v.turn_due_at,"
            " k.last_inbound_at as contact_inbound_at from conversations v join customer_contacts k on k.id = v.contact_id",
        )
        return row


@pytest.fixture
async def stage(runtime: Runtime, clock: FakeClock) -> Stage:
    return Stage(runtime, await make_account(runtime, await make_distributor(runtime)), clock)


def says(sender: str, user_id: str | None = None) -> InboundMessage:
    return inbound(key=f"wamid.{next(COUNT)}", sender=sender, sender_user_id=user_id)


def moves(kind: str = "user_changed_number", key: str | None = None, **told: str) -> InboundMessage:
    """A system message as the adapter gives it: numbers are bare digits in its metadata."""
    numbers = {name: text.removeprefix("+") for name, text in told.items()}
    sender = told.get("old_number") or told["old_user_id"]
    return inbound(
        key=key or f"wamid.{next(COUNT)}",
        sender=sender,
        type=MessageType.UNSUPPORTED,
        text="User changed",
        metadata={"provider_kind": "system", "system": {"type": kind, **numbers}},
        automated="system",
    )


BOTH_CHANGE = {"old_number": OLD, "new_number": NEW, "old_user_id": OLD_ID, "new_user_id": NEW_ID}
NUMBER_CHANGES = {"old_number": OLD, "new_number": NEW}
ID_CHANGES = {"kind": "user_changed_user_id", "old_user_id": OLD_ID, "new_user_id": NEW_ID}
CASES: dict[str, tuple[list[tuple[str, str | None]], dict[str, str], list[tuple[Any, ...]]]] = {
    "both, of who has both": ([(OLD, OLD_ID)], BOTH_CHANGE, [(NEW, NEW_ID, 2)]),
    "both, of who has the number": ([(OLD, None)], BOTH_CHANGE, [(NEW, NEW_ID, 2)]),
    "both, of who has the id": ([(OLD_ID, None)], BOTH_CHANGE, [(NEW, NEW_ID, 2)]),
    "the number": ([(OLD, None)], NUMBER_CHANGES, [(NEW, None, 2)]),
    "the number, of who has an id too": ([(OLD, OLD_ID)], NUMBER_CHANGES, [(NEW, OLD_ID, 2)]),
    "the number, by the older name": (
        [(OLD, None)],
        {**NUMBER_CHANGES, "kind": "customer_changed_number"},
        [(NEW, None, 2)],
    ),
    "the id, of who has both": ([(OLD, OLD_ID)], ID_CHANGES, [(OLD, NEW_ID, 2)]),
    "the id, of who has no number": ([(OLD_ID, None)], ID_CHANGES, [(NEW_ID, NEW_ID, 2)]),
    "the id, with the number that stays": (
        [(OLD, OLD_ID)],
        {**ID_CHANGES, "old_number": OLD},
        [(OLD, NEW_ID, 2)],
    ),
    "the id finds, though the number is known otherwise": (
        [(THIRD, OLD_ID), (OLD, OTHER_ID)],
        BOTH_CHANGE,
        [(NEW, NEW_ID, 2), (OLD, OTHER_ID, 1)],
    ),
    "the old number is another person's by now": (
        [(OLD, OTHER_ID)],
        BOTH_CHANGE,
        [(OLD, OTHER_ID, 1), (NEW, NEW_ID, 1)],
    ),
    "the new number has a contact": (
        [(OLD, OLD_ID), (NEW, None)],
        BOTH_CHANGE,
        [(OLD, OLD_ID, 1), (NEW, NEW_ID, 2)],
    ),
    "the new id has a contact": (
        [(OLD, OLD_ID), (THIRD, NEW_ID)],
        BOTH_CHANGE,
        [(OLD, OLD_ID, 1), (THIRD, NEW_ID, 2)],
    ),
    "nobody who was known": ([], BOTH_CHANGE, [(NEW, NEW_ID, 1)]),
    "another kind of word": (
        [(OLD, None)],
        {**NUMBER_CHANGES, "kind": "customer_identity_changed"},
        [(OLD, None, 2)],
    ),
    "what is no number": ([(OLD, None)], {"old_number": OLD, "new_number": "soon"}, [(OLD, None, 2)]),
}


@pytest.mark.parametrize(("before", "told", "after"), CASES.values(), ids=CASES)
async def test_the_contact_follows_where_the_new_place_is_free(
    stage: Stage, before: list[Any], told: dict[str, str], after: list[Any]
):
    for sender in before:
        await stage.take(says(*sender))

    await stage.take(moves(**told))

    assert await stage.contacts() == after


async def test_a_move_that_is_told_again_does_not_move_who_has_the_number_now(stage: Stage):
    await stage.take(says(OLD))
    move = moves(**NUMBER_CHANGES, key="wamid.move")
    await stage.take(move)
    await stage.take(moves(old_number=NEW, new_number=THIRD))
    await stage.take(says(OLD))

    await stage.take(move)

    assert await stage.contacts() == [(THIRD, None, 3), (OLD, None, 1)]


async def test_two_moves_of_one_flush_are_made_in_their_order(stage: Stage):
    await stage.take(says(OLD))

    await stage.take(moves(**NUMBER_CHANGES), moves(old_number=NEW, new_number=THIRD))

    assert await stage.contacts() == [(THIRD, None, 3)]


async def test_what_comes_from_the_new_place_in_the_same_flush_finds_the_contact(stage: Stage):
    await stage.take(says(OLD))

    await stage.take(says(NEW), moves(**NUMBER_CHANGES))

    assert await stage.contacts() == [(NEW, None, 3)]


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("message__system_changed_number", ("+34600999888", "ES.20000000000000000001", 2)),
        ("message__system_changed_user_id", (OLD, "ES.20000000000000000001", 2)),
    ],
)
async def test_the_contact_follows_what_meta_posts(stage: Stage, name: str, after: tuple[Any, ...]):
    await stage.take(says(OLD, "ES.13491208655302741918"))

    await stage.take(*items_of(fixture(name)))

    assert await stage.contacts() == [after]
    assert (await stage.conversation())["unread_count"] == 1


async def test_a_notice_is_no_word_of_the_customers(stage: Stage):
    """It neither opens WhatsApp's 24 hours, in which a business may write freely, nor waits to be read."""
    await stage.take(says(OLD))
    before = await stage.conversation()
    stage.clock.advance(3600)

    await stage.take(moves(**NUMBER_CHANGES))

    assert await stage.conversation() == before


async def test_a_notice_alone_opens_nothing(stage: Stage):
    await stage.take(moves(**BOTH_CHANGE))

    assert await stage.conversation() == {
        "unread_count": 0,
        "last_inbound_at": None,
        "turn_generation": 0,
        "turn_due_at": None,
        "contact_inbound_at": None,
    }


async def test_a_move_of_another_tenants_contact_is_none(stage: Stage):
    theirs = await make_account(stage.runtime, await make_distributor(stage.runtime))
    await stage.take(says(OLD, OLD_ID))

    await Stage(stage.runtime, theirs, stage.clock).take(moves(**BOTH_CHANGE))

    assert await stage.contacts() == [(OLD, OLD_ID, 1)]
