"""Rows that only inbound traffic and workers make, written as the superuser."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from handlers.runtime import Runtime

ACCOUNT: dict[str, Any] = {
    "channel": "SMS",
    "provider": "twilio",
    "address": "+1 (500) 555-0006",
    "credentials": {"account_sid": "AC" + "0" * 32, "auth_token": "tok-secret-0123456789abcdef"},
}
ENDPOINT = {
    "name": "erp",
    "url": "https://93.184.215.14/hook",
    "event_types": ["order.*", "endpoint.*"],
    "headers": {"X-Token": "header-secret-value"},
}
PRODUCT = {"sku": "AGUA-600", "name": "Agua 600 ml", "unit": "caja", "unit_price": "120.50"}


class Seeds:
    """Makes rows of one tenant; each method gives back the id of what it made."""

    def __init__(
        self, admin: "asyncpg.Connection[asyncpg.Record]", runtime: Runtime, distributor_id: UUID
    ) -> None:
        self.admin = admin
        self.runtime = runtime
        self.distributor_id = distributor_id
        self._count = 0

    async def _insert(self, table: str, **values) -> UUID:
        row_id = self.runtime.new_id()
        row = {"distributor_id": self.distributor_id, "id": row_id, **values}
        names = ", ".join(row)
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self.admin.execute(f"insert into {table} ({names}) values ({places})", *row.values())
        return row_id

    async def account(self) -> UUID:
        now = self.runtime.clock()
        self._count += 1
        return await self._insert(
            "channel_accounts",
            channel="SMS",
            provider="twilio",
            address=f"+1500555{self._count:04}",
            credentials_sealed=b"sealed",
            created_at=now,
            updated_at=now,
        )

    async def customer(self, name: str = "Bodega Sol") -> UUID:
        now = self.runtime.clock()
        self._count += 1
        return await self._insert(
            "customers", business_name=name, customer_code=f"C-{self._count}", created_at=now, updated_at=now
        )

    async def contact(self, customer_id: UUID | None = None, name: str | None = None) -> UUID:
        self._count += 1
        return await self._insert(
            "customer_contacts",
            customer_id=customer_id,
            channel="SMS",
            address=f"+1212555{self._count:04}",
            display_name=name,
            last_inbound_at=self.runtime.clock(),
            created_at=self.runtime.clock(),
        )

    async def conversation(
        self,
        account_id: UUID | None = None,
        *,
        name: str = "Bodega Sol",
        last_message_at: datetime | None = None,
        unread: int = 0,
        status: str = "ACTIVE",
        **columns: Any,
    ) -> UUID:
        customer_id = await self.customer(name)
        return await self._insert(
            "conversations",
            channel_account_id=account_id or await self.account(),
            contact_id=await self.contact(customer_id, name),
            customer_id=customer_id,
            channel="SMS",
            status=status,
            unread_count=unread,
            last_message_at=last_message_at or self.runtime.clock(),
            last_inbound_at=self.runtime.clock(),
            created_at=self.runtime.clock(),
            **columns,
        )

    async def attachment(self, **columns: Any) -> UUID:
        return await self._insert("attachments", **columns)

    async def message(self, conversation_id: UUID, text: str = "hola", **columns: Any) -> UUID:
        now = self.runtime.clock()
        account_id = await self.admin.fetchval(
            "select channel_account_id from conversations where id = $1", conversation_id
        )
        values = {
            "conversation_id": conversation_id,
            "channel_account_id": account_id,
            "channel": "SMS",
            "direction": "INBOUND",
            "type": "TEXT",
            "status": "RECEIVED",
            "text": text,
            "ai_processed": False,
            "reply_to_provider_id": "SM-quoted",
            "created_at": now,
            "updated_at": now,
        }
        return await self._insert("messages", **{**values, **columns})

    async def order(
        self,
        conversation_id: UUID | None = None,
        status: str = "PENDING",
        *,
        source_message_id: UUID | None = None,
        **columns: Any,
    ) -> UUID:
        now = self.runtime.clock()
        values = {
            "conversation_id": conversation_id,
            "channel": "SMS",
            "status": status,
            "currency": "MXN",
            "total_amount": 241,
            "source_message_id": source_message_id,
            "created_at": now,
            "updated_at": now,
        }
        order_id = await self._insert("orders", **{**values, **columns})
        await self._insert(
            "order_products",
            order_id=order_id,
            sku="AGUA-600",
            product_name="Agua 600 ml",
            unit="caja",
            quantity=2,
            unit_price=120.5,
            confidence=0.95,
            band="auto",
            original_text="dos cajas de agua",
            position=1,
        )
        return order_id

    async def analysis(self, message_id: UUID, conversation_id: UUID, **columns: Any) -> UUID:
        values = {
            "message_id": message_id,
            "conversation_id": conversation_id,
            "status": "COMPLETED",
            "engine": "rules",
            "engine_version": "1",
            "intent": "BUY",
            "language": "es",
            "confidence": 0.95,
            "extracted_data": "{}",
            "processing_ms": 3,
            "input_tokens": 900,
            "cached_tokens": 800,
            "output_tokens": 70,
            "request_id": "req_1",
            "created_at": self.runtime.clock(),
        }
        return await self._insert("ai_responses", **{**values, **columns})

    async def event(
        self, event_type: str = "order.created", *, minutes: int = 0, conversation_id: UUID | None = None
    ) -> UUID:
        """With a delivery for each endpoint that asks for it."""
        now = self.runtime.clock() + timedelta(minutes=minutes)
        self._count += 1
        stored = now + timedelta(
            milliseconds=self._count
        )  # ids made one after the other, at the clock's time
        event_id = uuid7(nanoseconds=int(stored.timestamp() * 1e9))
        body = {"type": event_type, "timestamp": now.isoformat(), "distributor_id": "", "data": {"n": 1}}
        async with self.runtime.database.tenant(self.distributor_id) as connection:
            row = {
                "id": event_id,
                "distributor_id": self.distributor_id,
                "type": event_type,
                "conversation_id": conversation_id,
                "occurred_at": now,
                "due_at": now,
                "body": body,
            }
            await connection.fetchval("select record_events($1::jsonb)", [row])
        return event_id

    async def attempt(self, endpoint_id: UUID | str, event_id: UUID, number: int = 1, **columns: Any) -> UUID:
        values = {
            "endpoint_id": endpoint_id,
            "event_id": event_id,
            "number": number,
            "started_at": self.runtime.clock(),
            "outcome": "failure",
            "duration_ms": 12,
            "status_code": 500,
            "error_class": "status",
            "response_excerpt": "no",
        }
        return await self._insert("webhook_delivery_attempts", **{**values, **columns})
