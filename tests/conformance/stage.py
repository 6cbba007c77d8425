"""A gateway with one provider's adapter on a real database, and the provider in front of it."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from uuid import UUID

from aiohttp.test_utils import TestClient
from multidict import CIMultiDict
from yarl import URL

from channels.base import Channel, ChannelAccount, ChannelAdapter, MailHeaders, MailThread, OutboundMessage
from channels.mail_tokens import our_message_id
from gateway import keys
from gateway.accounts import AccountDirectory
from handlers.accounts import create_account, inbound_url, status_url
from handlers.inbound import accept_messages, message_item
from handlers.runtime import Runtime, new_uuid7
from handlers.threads import make_reply_token
from tests.conformance.kit import CUSTOMER_MAILBOX, ChannelKit, Post, ProviderSide
from tests.factories import CUSTOMER_NUMBER, inbound, make_distributor, posted
from tests.servers import execute


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway answered."""

    status: int
    text: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass
class Stage:
    """One provider's adapter, behind a gateway and before its stand-in."""

    kit: ChannelKit
    side: ProviderSide
    runtime: Runtime
    client: TestClient[Any, Any]
    admin_dsn: str  # of the server, not of the gateway's database
    database_name: str
    words: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def adapter(self) -> ChannelAdapter:
        return self.side.adapters[self.kit.provider]

    def word(self) -> str:
        """Of a message that nobody has posted yet."""
        return f"w{next(self.words)}"

    def message(self, text: str = "2 cajas de coca 600") -> Post:
        return self.kit.message(self.word(), text)

    async def account(self, credentials: Mapping[str, Any] | None = None) -> ChannelAccount:
        """An account of a new tenant."""
        kit, runtime = self.kit, self.runtime
        tenant = await make_distributor(runtime)
        record = await create_account(
            runtime, self.side.adapters, tenant, channel=kit.channel, provider=kit.provider, address=kit.address,
            credentials=credentials or kit.credentials, settings={},
        )  # fmt: skip
        account = await AccountDirectory(runtime).read(record.id)
        assert account is not None
        return account

    def url(self, account: ChannelAccount, post: Post) -> str:
        """The whole URL that the provider calls."""
        hook = status_url if post.status_hook else inbound_url
        url = hook(self.runtime.public_url, account.provider, account.id)
        return f"{url}?{post.query}" if post.query else url

    def signed(
        self, account: ChannelAccount, post: Post, credentials: Mapping[str, Any] | None = None
    ) -> Post:
        """As the provider signs it: with the account's own credentials, or others."""
        return self.kit.sign(
            post, credentials or self.kit.credentials, self.url(account, post), self.runtime.clock()
        )

    async def post(self, account: ChannelAccount, post: Post) -> Answer:
        """Posts it as it is."""
        path = self.url(account, post).removeprefix(self.runtime.public_url)
        async with self.client.request(
            post.method,
            URL(path, encoded=True),
            data=BytesIO(post.body) if post.body else None,  # aiohttp warns of large bodies in one piece
            headers=post.headers,
            skip_auto_headers=["Content-Type"],
            allow_redirects=False,
        ) as answer:
            return Answer(answer.status, await answer.text(), answer.headers)

    def client_headers(self, post: Post) -> Mapping[str, str]:
        """As the adapter sees them: names without regard to case."""
        return CIMultiDict(post.headers)

    async def deliver(
        self, account: ChannelAccount, post: Post, credentials: Mapping[str, Any] | None = None
    ) -> Answer:
        """Signs it and posts it."""
        return await self.post(account, self.signed(account, post, credentials))

    async def stored(self, account: ChannelAccount) -> int:
        """How many things that the provider posted are stored."""
        return await self.count(
            account,
            "select count(*) from external_message_mappings where channel_account_id = $1 and provider_key not like 'token:%'",
        )

    async def messages(self, account: ChannelAccount) -> int:
        return await self.count(account, "select count(*) from messages where channel_account_id = $1")

    async def count(self, account: ChannelAccount, query: str) -> int:
        async with self.runtime.database.tenant(account.distributor_id) as connection:
            number: int = await connection.fetchval(query, account.id)
            return number

    async def status_of(self, account: ChannelAccount, message_id: UUID) -> str:
        async with self.runtime.database.tenant(account.distributor_id) as connection:
            status: str = await connection.fetchval("select status from messages where id = $1", message_id)
            return status

    async def our_message(self, account: ChannelAccount) -> tuple[UUID, str]:
        """A message of ours to a customer who wrote before, and the id under which the provider took it."""
        thread_key = await self._conversation(account)
        message_id = new_uuid7()
        provider_id = f"SM{self.word().encode().hex():0>32.32}"
        if self.kit.knows_mails_by_our_id:
            token = make_reply_token(self.runtime.sealer, account.distributor_id, account.id, thread_key)
            provider_id = our_message_id(token, message_id.hex, "gw.example.test")
        async with self.runtime.database.tenant(account.distributor_id) as connection:
            await connection.execute(
                "insert into messages (distributor_id, id, conversation_id, channel_account_id, channel, direction, type, status,"
                " status_rank, text, ai_processed, ai_skip_reason, provider_message_id, created_at, updated_at)"
                " select distributor_id, $1, id, channel_account_id, channel, 'OUTBOUND', 'TEXT', 'SENT', 3, 'ok', true, 'outbound', $2, now(), now()"
                " from conversations where channel_account_id = $3",
                message_id, provider_id, account.id,
            )  # fmt: skip
            await connection.execute(
                "insert into external_message_mappings (distributor_id, channel_account_id, provider_key, message_id, created_at)"
                " values ($1, $2, 'sent:' || $3, $4, now())",
                account.distributor_id, account.id, provider_id, message_id,
            )  # fmt: skip
        return message_id, provider_id

    async def _conversation(self, account: ChannelAccount) -> str:
        """Begins one; gives back its thread's key."""
        is_mail = self.kit.channel is Channel.EMAIL
        sender = CUSTOMER_MAILBOX if is_mail else CUSTOMER_NUMBER
        thread = MailThread(f"{self.word()}@clientes.example") if is_mail else None
        wrote = inbound(
            key=self.word(),
            sender=sender,
            recipient=account.address,
            channel=self.kit.channel,
            thread=thread,
        )
        item = message_item(self.runtime, posted(self.runtime, account), wrote, quiet_seconds=4.0)
        await accept_messages(self.runtime, [item])
        return str(item["thread_key"])

    def outbound(self) -> OutboundMessage:
        mail = self.kit.channel is Channel.EMAIL
        message_id = new_uuid7()
        return OutboundMessage(
            message_id,
            self.kit.channel,
            CUSTOMER_MAILBOX if mail else CUSTOMER_NUMBER,
            "Su pedido va en camino.",
            f"{self.runtime.public_url}/in/{self.kit.provider}/x/status",
            mail=MailHeaders("Re: Pedido", f"{message_id}@gw.example.test") if mail else None,
        )

    @asynccontextmanager
    async def database_away(self) -> AsyncIterator[None]:
        """The server takes nobody into the gateway's database while the block runs, and cuts who is in."""
        name = self.database_name
        await execute(self.admin_dsn, f"alter database {name} allow_connections false")
        await execute(
            self.admin_dsn, f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        )
        yield
        await execute(self.admin_dsn, f"alter database {name} allow_connections true")

    async def replay_spool(self) -> None:
        await self.client.app[keys.SPOOLING].replay()
