"""One row of every table for a tenant, written by the superuser: what the isolation matrix reads, changes
and links.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from handlers.runtime import new_uuid7

NOW = datetime(2026, 7, 6, 15, 0, tzinfo=UTC)


def tenant_rows(tenant: UUID) -> dict[str, dict[str, Any]]:
    """The rows by table, parents first; ids are new each time."""
    ids = {
        name: new_uuid7()
        for name in (
            "customer",
            "contact",
            "account",
            "conversation",
            "message",
            "order",
            "event",
            "endpoint",
        )
    }
    at = {"created_at": NOW}
    changed = {**at, "updated_at": NOW}
    mine = {"distributor_id": tenant}
    in_conversation = {"conversation_id": ids["conversation"]}
    delivery = {"endpoint_id": ids["endpoint"], "event_id": ids["event"]}
    return {
        "distributors": {"id": tenant, "name": "A tenant", **changed},
        "api_keys": {**mine, "id": new_uuid7(), "name": "k", "prefix": "wst", "key_hash": tenant.bytes, **at},
        "idempotency_keys": {**mine, "route": "POST /v1/x", "key": "k", "request_hash": b"h", **at},
        "customers": {**mine, "id": ids["customer"], "business_name": "B", "customer_code": "C-1", **changed},
        "customer_contacts": {
            **mine, "id": ids["contact"], "customer_id": ids["customer"], "channel": "SMS", "address": "+15550001111", **at,
        },
        "channel_accounts": {
            **mine, "id": ids["account"], "channel": "SMS", "provider": "twilio", "address": "+15550002222",
            "credentials_sealed": b"s", **changed,
        },
        "inbound_events": {
            **mine, "id": new_uuid7(), "channel_account_id": ids["account"], "kind": "message", "provider_key": "SM1",
            "method": "POST",
            "target": "/in",
            "headers": "{}", "body": b"b", "received_at": NOW,
        },
        "external_message_mappings": {**mine, "channel_account_id": ids["account"], "provider_key": "SM1", **at},
        "conversations": {
            **mine, "id": ids["conversation"], "channel_account_id": ids["account"], "contact_id": ids["contact"],
            "customer_id": ids["customer"], "channel": "SMS", "last_message_at": NOW, **at,
        },
        "messages": {
            **mine, "id": ids["message"], **in_conversation, "channel_account_id": ids["account"],
            "customer_id": ids["customer"], "channel": "SMS", "direction": "INBOUND", "type": "TEXT", "status": "RECEIVED",
            "ai_processed": False, **changed,
        },
        "attachments": {
            **mine, "id": new_uuid7(), "message_id": ids["message"], "position": 1, "url": "https://x.test/1",
            "content_type": "image/png", **at,
        },
        "message_status_events": {
            **mine, "id": new_uuid7(), "message_id": ids["message"], "status": "SENT", "applied": True, "occurred_at": NOW,
        },
        "products": {**mine, "id": (product := new_uuid7()), "sku": "A", "name": "A", "unit": "box", **changed},
        "orders": {
            **mine, "id": ids["order"], **in_conversation, "customer_id": ids["customer"], "channel": "SMS",
            "status": "PENDING", "currency": "USD", **changed,
        },
        "order_products": {
            **mine, "id": new_uuid7(), "order_id": ids["order"], "product_id": product, "sku": "A", "product_name": "A",
            "unit": "box", "quantity": 1, "confidence": 1, "band": "auto", "position": 1,
        },
        "ai_responses": {
            **mine, "id": new_uuid7(), "message_id": ids["message"], **in_conversation, "status": "COMPLETED",
            "engine": "rules", "engine_version": "1", "processing_ms": 1, **at,
        },
        "webhook_endpoints": {
            **mine, "id": ids["endpoint"], "name": "e", "url": "https://x.test", "event_types": ["*"],
            "secrets_sealed": b"s", **changed,
        },
        "webhook_events": {
            **mine, "id": ids["event"], "type": "order.created", "body": "{}", **in_conversation, "occurred_at": NOW,
        },
        "webhook_deliveries": {**mine, **delivery, "id": new_uuid7(), "due_at": NOW, **changed},
        "webhook_delivery_attempts": {**mine, **delivery, "id": new_uuid7(), "number": 1, "started_at": NOW},
    }  # fmt: skip


async def insert_row(connection: Any, table: str, row: dict[str, Any]) -> None:
    """Inserts one row whatever the connection may."""
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"insert into {table} ({', '.join(row)}) values ({places})", *row.values())
