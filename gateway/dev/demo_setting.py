"""The demo's first and last steps: database, processes, tenant; then the books, and an orderly end."""

import json
import signal
from http import HTTPStatus
from typing import Any
from uuid import UUID

import aiohttp

from channels.base import Channel
from db.migrate import migrate, read_migrations
from db.sealing import decode_master_key
from gateway.dev.children import Child, CommandResult, run_command
from gateway.dev.choices import Break
from gateway.dev.demo_story import Shop, Story
from gateway.dev.management import Management, create_account, create_endpoint, demo_products
from gateway.dev.observing import NotObserved, observe, require

_START_SECONDS = 20.0
_OPEN_DELIVERIES = "webhook_deliveries where status <> 'SUCCESS'"
_UNDELIVERED = "messages where direction = 'OUTBOUND' and status not in ('DELIVERED', 'READ')"
_UNPROCESSED = "messages where not ai_processed"
_OTHERS = ("sendgrid", "whatsapp_cloud")  # beside Twilio
_HOOK_EVENTS = ["order.*", "customer.*"]


async def prepare_database(story: Story) -> str:
    """PostgreSQL in a folder of its own, brought to today's schema by `waystation migrate`."""
    await story.stage.open_database()
    if story.stage.broken is Break.MIGRATION:
        keys = [decode_master_key(story.stage.master_key)]
        await migrate(story.stage.admin_dsn, keys, through=len(read_migrations()) - 1)
    else:
        await _command(story, "migrate", "--json")
    applied = await story.count("schema_migrations")
    bare = await story.count(
        "pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
        " and relname <> 'schema_migrations' and not (relrowsecurity and relforcerowsecurity)"
    )
    require(bare, bare == 0, "row-level security enabled and forced on every table")
    version = str(await story.value("show server_version")).partition(" ")[0]
    return f"PostgreSQL {version}, {applied} migrations, row-level security forced on every table"


async def start_processes(story: Story) -> str:
    """`waystation serve` and `waystation work`, each a process of its own."""
    serve = await story.stage.start_child("serve", "serve")
    work = await story.stage.start_child("work", "work")

    async def look() -> str:
        for child in (serve, work):
            if child.exit_code is not None:
                raise NotObserved(f"`waystation {child.name}` to run", _end_of(child))
        return await _readiness(story)

    await observe(look, lambda seen: seen == "200", "/ready to answer 200", _START_SECONDS)
    await observe(
        lambda: _listeners(story), lambda seen: seen > 0, "a worker that listens for work", _START_SECONDS
    )
    return f"serve (pid {serve.pid}) at {story.stage.gateway_url}, work (pid {work.pid})"


def _end_of(child: Child) -> str:
    return f"exit code {child.exit_code}: {' '.join(child.last_lines(1))}"


async def _readiness(story: Story) -> str:
    try:
        async with story.stage.session.get(f"{story.stage.gateway_url}/ready") as response:
            return str(response.status)
    except aiohttp.ClientError as error:
        return type(error).__name__


async def _listeners(story: Story) -> int:
    return await story.count("pg_stat_activity where query ilike 'listen%'")


async def make_tenant(story: Story) -> str:
    """A tenant by command; its channels, catalogue and webhook over the management API with its key."""
    created = json.loads(
        (
            await _command(
                story,
                "tenants",
                "create",
                "--name",
                "Abarrotes La Esquina",
                "--currency",
                "MXN",
                "--time-zone",
                "America/Mexico_City",
                "--json",
            )
        ).output
    )
    stage = story.stage
    stage.secrets.add(created["api_key"])
    api = Management(stage.session, stage.gateway_url, created["api_key"])
    accounts = {
        channel: await create_account(api, channel, stage.login)
        for channel in (Channel.WHATSAPP, Channel.SMS)
    }
    await api.import_products(demo_products())
    endpoint = await create_endpoint(api, "erp", f"{stage.receiver_url}/hook/erp", _HOOK_EVENTS)
    await _hand_over_secret(story, endpoint["secret"])
    urls = {channel: account["inbound_url"] for channel, account in accounts.items()}
    story.open_shop(Shop(UUID(created["distributor_id"]), api, urls))
    return await _see_tenant(story)


async def _hand_over_secret(story: Story, secret: str) -> None:
    """The integrator notes the secret, where there is an integrator."""
    story.stage.secrets.add(secret)
    if story.stage.broken is Break.RECEIVER:
        return
    async with story.stage.session.post(
        f"{story.stage.receiver_url}/secret", json={"secret": secret}
    ) as response:
        require(response.status, response.status == HTTPStatus.NO_CONTENT, "the receiver to take the secret")


async def _see_tenant(story: Story) -> str:
    counts = {
        table: await story.count(f"{table} where distributor_id = $1", story.shop.distributor_id)
        for table in ("products", "channel_accounts", "webhook_endpoints", "api_keys")
    }
    wanted = {"products": len(demo_products()), "channel_accounts": 2, "webhook_endpoints": 1, "api_keys": 1}
    require(counts, counts == wanted, f"{wanted}")
    readable = await story.count(
        "channel_accounts where position(convert_to($1, 'UTF8') in credentials_sealed) > 0",
        story.stage.login.auth_token,
    )
    require(readable, readable == 0, "the provider's token to be unreadable at rest")
    return (
        f"{counts['products']} products, a WhatsApp and an SMS number, a webhook; credentials sealed at rest"
    )


async def check_books(story: Story) -> str:
    """The three sides agree: what is stored, what the provider sent, what the integrator got."""
    for source, wanted in (
        (_OPEN_DELIVERIES, "every delivery to be SUCCESS"),
        (_UNDELIVERED, "every outgoing message to be DELIVERED or READ"),
        (_UNPROCESSED, "no message to await its turn"),
    ):
        await observe(lambda source=source: story.count(source), lambda seen: seen == 0, wanted)  # type: ignore[misc]
    stored = {
        row["provider_message_id"]
        for row in await story.rows("select provider_message_id from messages where direction = 'OUTBOUND'")
    }
    sent = await _sent_ids(story)
    require(
        sorted(sent), sorted(sent) == sorted(stored), f"the providers to have sent exactly {sorted(stored)}"
    )
    await _see_events(story)
    return f"{len(sent)} messages sent, each stored once; every event at the receiver once"


async def _sent_ids(story: Story) -> list[str]:
    """What the providers call the messages that they were given to send."""
    others = [taken["id"] for provider in _OTHERS for taken in await story.taken(provider) if _is_send(taken)]
    return [held["sid"] for held in await story.sent()] + others


def _is_send(taken: dict[str, Any]) -> bool:
    """Not Meta's "read" and "is writing"."""
    return "status" not in taken["document"]


async def _see_events(story: Story) -> None:
    due = {
        f"evt_{row['event_id'].hex}" for row in await story.rows("select event_id from webhook_deliveries")
    }
    taken = [got["id"] for got in await story.received() if got["verified"] and got["answer"] == "204"]
    require(
        sorted(taken), sorted(taken) == sorted(due), f"the receiver to have taken exactly {len(due)} events"
    )


async def drain(story: Story) -> str:
    """SIGTERM: both processes finish what they began and leave with exit code 0."""
    codes = {
        name: await child.stop() for name, child in story.stage.children.items() if child.exit_code is None
    }
    require(codes, set(codes.values()) == {0}, f"exit code 0 after {signal.SIGTERM.name}")
    rest = await observe(
        lambda: story.rows(
            "select application_name, state from pg_stat_activity where usename like 'waystation_login%'"
        ),
        lambda seen: not seen,
        "no connection of theirs to be left",
    )
    return f"{', '.join(codes)} drained; {len(rest)} connections left"


async def read_totals(story: Story) -> dict[str, dict[str, int]]:
    """What was stored, sent and delivered, counted by the database, the provider and the integrator."""
    stored = {
        title: await story.count(source)
        for title, source in (
            ("provider posts", "inbound_events"),
            ("messages in", "messages where direction = 'INBOUND'"),
            ("messages out", "messages where direction = 'OUTBOUND'"),
            ("conversations", "conversations"),
            ("customers", "customers"),
            ("orders", "orders"),
            ("orders confirmed", "orders where status = 'CONFIRMED'"),
            ("AI turns", "ai_responses"),
            ("events", "webhook_events"),
            ("delivery attempts", "webhook_delivery_attempts"),
        )
    }
    received = await story.received()
    others = len(await _sent_ids(story)) - len(sent := await story.sent())
    return {
        "stored": stored,
        "sent": {**_tally(held["status"] for held in sent), "taken by SendGrid and Meta": others},
        "delivered": _tally(got["type"] for got in received if got["answer"] == "204"),
    }


def _tally(names: Any) -> dict[str, int]:
    counted: dict[str, int] = {}
    for name in names:
        counted[name] = counted.get(name, 0) + 1
    return dict(sorted(counted.items()))


async def _command(story: Story, *arguments: str) -> CommandResult:
    result = await run_command(arguments, story.stage.surroundings)
    failed = f"exit code {result.exit_code}: {story.stage.redacted(result.errors.strip()[-400:])}"
    require(failed, result.exit_code == 0, f"`waystation {' '.join(arguments[:2])}` to succeed")
    return result
