"""What a person is known by: a number and the provider's id, either of which may be shown late or change. In one
transaction, ``accept.lock_addresses`` goes before each, and the storing of what showed it after.
"""

from collections.abc import Sequence

from db.accept import Item
from db.named_sql import load_statements
from db.tenant import Connection

_SQL = load_statements("identities")


async def move_contact(connection: Connection, item: Item) -> None:
    """Gives the contact of who moved the new number and the new user id, if nobody else has one of them: two contacts
    are never made one. A message that is stored already moves nobody again.
    """
    names = ("distributor_id", "channel_account_id", "provider_key", "channel")
    await connection.execute(_SQL["move_contact"], {**{name: item[name] for name in names}, **item["move"]})


async def learn_identities(connection: Connection, items: Sequence[Item]) -> None:
    """What messages show of a number and a user id together, laid down in the contacts that are there already."""
    names = ("distributor_id", "channel", "address", "user_id")
    shown = [
        {"ordinal": ordinal, **{name: item[name] for name in names}}
        for ordinal, item in enumerate(items)
        if item["user_id"] and item["user_id"] != item["address"]
    ]
    if shown:
        await connection.execute(_SQL["learn_identities"], shown)
