"""One row of every table for a tenant, written by the superuser: what the isolation matrix reads, changes
and links.
"""

from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from handlers.runtime import new_uuid7

NOW = datetime(2026, 7, 6, 15, 0, tzinfo=UTC)
PERIOD = date(2026, 7, 1)
MADE = {"created_at": NOW}
CHANGED = {**MADE, "updated_at": NOW}


def tenant_rows(tenant: UUID) -> dict[str, dict[str, Any]]:
    """The rows by table, parents first; ids are new each time."""
    ids: dict[str, UUID] = defaultdict(new_uuid7)
    return {
        **_tenancy(tenant, ids),
        **_messaging(tenant, ids),
        **_orders(tenant, ids),
        **_ai(tenant, ids),
        **_integrations(tenant, ids),
        **_privacy(tenant, ids),
    }


def _tenancy(tenant: UUID, ids: dict[str, UUID]) -> dict[str, dict[str, Any]]:
    mine = {"distributor_id": tenant}
    return {
        "distributors": {"id": tenant, "name": "A tenant", **CHANGED},
        "distributor_usage": {**mine, "period": PERIOD, "counted_at": NOW},
        "user_profiles": {**mine, "id": ids["user"], "email": "ana@x.test", "status": "ACTIVE", **CHANGED},
        "user_invitations": {
            **mine, "id": new_uuid7(), "email": "eva@x.test", "role": "ADMIN", "token_hash": tenant.bytes,
            "invited_by": ids["user"], "expires_at": NOW, **MADE,
        },
        "user_sessions": {
            **mine, "id": new_uuid7(), "user_id": ids["user"], "token_hash": tenant.bytes, "last_seen_at": NOW,
            "expires_at": NOW, **MADE,
        },
        "role_permissions": {**mine, "role": "ADMIN", "permission": "orders.write", "updated_at": NOW},
        "api_keys": {**mine, "id": new_uuid7(), "name": "k", "prefix": "wst", "key_hash": tenant.bytes, **MADE},
        "idempotency_keys": {**mine, "route": "POST /v1/x", "key": "k", "request_hash": b"h", **MADE},
    }  # fmt: skip


def _messaging(tenant: UUID, ids: dict[str, UUID]) -> dict[str, dict[str, Any]]:
    mine = {"distributor_id": tenant}
    account = {"channel_account_id": ids["account"]}
    customer = {"customer_id": ids["customer"]}
    return {
        "customers": {**mine, "id": ids["customer"], "business_name": "B", "customer_code": "C-1", **CHANGED},
        "customer_contacts": {
            **mine, **customer, "id": ids["contact"], "channel": "SMS", "address": "+15550001111", **MADE,
        },
        "customer_labels": {**mine, "id": ids["label"], "name": "Bar", "color": "#00ff00", **CHANGED},
        "customer_label_assignments": {**mine, **customer, "label_id": ids["label"], **MADE},
        "channel_accounts": {
            **mine, "id": ids["account"], "channel": "SMS", "provider": "twilio", "address": "+15550002222",
            "credentials_sealed": b"s", **CHANGED,
        },
        "inbound_events": {
            **mine, **account, "id": ids["inbound"], "kind": "message", "provider_key": "SM1", "method": "POST",
            "target": "/in", "headers": "{}", "body": b"b", "received_at": NOW,
        },
        "external_message_mappings": {
            **mine, **account, "provider_key": "SM1", "message_id": ids["message"], **MADE,
        },
        "conversations": {
            **mine, **account, **customer, "id": ids["conversation"], "contact_id": ids["contact"], "channel": "SMS",
            "last_message_at": NOW, **MADE,
        },
        "messages": {
            **mine, **account, **customer, "id": ids["message"], "conversation_id": ids["conversation"], "channel": "SMS",
            "direction": "INBOUND", "type": "TEXT", "status": "RECEIVED", "inbound_event_id": ids["inbound"],
            "ai_processed": False, **CHANGED,
        },
        "attachments": {
            **mine, "id": new_uuid7(), "message_id": ids["message"], "position": 1, "url": "https://x.test/1",
            "content_type": "image/png", **MADE,
        },
        "message_status_events": {
            **mine, "id": new_uuid7(), "message_id": ids["message"], "status": "SENT", "applied": True, "occurred_at": NOW,
        },
        "message_templates": {
            **mine, "id": new_uuid7(), "name": "welcome", "language": "es", "body": "Hola {name}", **CHANGED,
        },
    }  # fmt: skip


def _orders(tenant: UUID, ids: dict[str, UUID]) -> dict[str, dict[str, Any]]:
    mine = {"distributor_id": tenant}
    item = {"product_id": ids["product"], "product_name": "A", "unit": "box", "quantity": 1}
    in_conversation = {"conversation_id": ids["conversation"]}
    return {
        "product_categories": {
            **mine, "id": ids["category"], "parent_id": None, "name": "Drinks", **CHANGED,
        },
        "products": {
            **mine, "id": ids["product"], "sku": "A", "name": "A", "unit": "box", "category_id": ids["category"], **CHANGED,
        },
        "product_variants": {
            **mine, "id": new_uuid7(), "product_id": ids["product"], "kind": "SIZE", "name": "small", **CHANGED,
        },
        "orders": {
            **mine, **in_conversation, "id": ids["order"], "customer_id": ids["customer"], "channel": "SMS",
            "status": "PENDING", "currency": "USD", "source_message_id": ids["message"], **CHANGED,
        },
        "order_products": {
            **mine, **item, "id": ids["line"], "order_id": ids["order"], "sku": "A", "confidence": 1, "band": "auto",
            "position": 1,
        },
        "product_matching_history": {
            **mine, "id": new_uuid7(), "order_product_id": ids["line"], "original_text": "a", "method": "EXACT",
            "suggested_product_id": ids["product"], "final_product_id": ids["product"], "decided_by": "ENGINE",
            "decided_at": NOW,
        },
        "conversation_order_sessions": {
            **mine, **in_conversation, "id": ids["session"], "order_id": ids["order"], "started_at": NOW,
            "last_activity_at": NOW, "expires_at": NOW,
        },
        "order_session_items": {
            **mine, **item, "id": new_uuid7(), "session_id": ids["session"], "source_message_id": ids["message"], **CHANGED,
        },
        "order_session_events": {
            **mine, "id": new_uuid7(), "session_id": ids["session"], "type": "STARTED", "actor": "CUSTOMER",
            "message_id": ids["message"], "occurred_at": NOW,
        },
    }  # fmt: skip


def _ai(tenant: UUID, ids: dict[str, UUID]) -> dict[str, dict[str, Any]]:
    mine = {"distributor_id": tenant}
    counts = ("requests", "failures", "input_tokens", "cached_tokens", "output_tokens", "cost_micro_usd")
    sums = ("processing_ms", "confidence_sum", "confidence_count")
    return {
        "ai_responses": {
            **mine, "id": ids["response"], "message_id": ids["message"], "conversation_id": ids["conversation"],
            "status": "COMPLETED", "engine": "rules", "engine_version": "1", "processing_ms": 1, **MADE,
        },
        "ai_usage_metrics": {
            **mine, "hour": NOW, "engine": "rules", **dict.fromkeys(counts + sums, 1), "counted_at": NOW,
        },
        "ai_budgets": {**mine, "period": PERIOD, "limit_micro_usd": 1, "updated_at": NOW},
        "ai_training_data": {
            **mine, "id": new_uuid7(), "ai_response_id": ids["response"], "input_masked": "a", "expected": "{}",
            "source": "MANUAL", "quality": 5, **MADE,
        },
    }  # fmt: skip


def _integrations(tenant: UUID, ids: dict[str, UUID]) -> dict[str, dict[str, Any]]:
    mine = {"distributor_id": tenant}
    endpoint = {"endpoint_id": ids["endpoint"]}
    delivery = {**endpoint, "event_id": ids["event"]}
    return {
        "external_integrations": {
            **mine, "id": new_uuid7(), "name": "erp", "kind": "ERP", "provider": "odoo", **CHANGED,
        },
        "webhook_endpoints": {
            **mine, "id": ids["endpoint"], "name": "e", "url": "https://x.test", "event_types": ["*"],
            "secrets_sealed": b"s", **CHANGED,
        },
        "webhook_endpoint_state": {**mine, **endpoint, "updated_at": NOW},
        "webhook_events": {
            **mine, "id": ids["event"], "type": "order.created", "body": "{}", "conversation_id": ids["conversation"],
            "occurred_at": NOW,
        },
        "webhook_deliveries": {**mine, **delivery, "id": new_uuid7(), "due_at": NOW, **CHANGED},
        "webhook_delivery_attempts": {**mine, **delivery, "id": new_uuid7(), "number": 1, "started_at": NOW},
        "webhook_replays": {**mine, **endpoint, "id": new_uuid7(), "request": "{}", "due_at": NOW, **CHANGED},
    }  # fmt: skip


def _privacy(tenant: UUID, ids: dict[str, UUID]) -> dict[str, dict[str, Any]]:
    mine = {"distributor_id": tenant}
    return {
        "data_access_audit": {
            **mine, "id": new_uuid7(), "actor_kind": "USER", "actor_id": ids["user"], "action": "READ",
            "table_name": "customers", "record_id": ids["customer"], "occurred_at": NOW,
        },
        "security_audit_log": {
            **mine, "id": new_uuid7(), "type": "key.refused", "first_at": NOW, "occurred_at": NOW,
        },
        "pii_detection_rules": {
            **mine, "id": ids["rule"], "name": "Member no.", "pii_type": "OTHER", "pattern": "M[0-9]{8}",
            "sensitivity": "LOW", **CHANGED,
        },
        "pii_detection_results": {
            **mine, "id": new_uuid7(), "table_name": "messages", "record_id": ids["message"], "field_name": "text",
            "pii_type": "OTHER", "rule_id": ids["rule"], "span_start": 0, "span_end": 9, "value_hash": b"h",
            "confidence": 1, "reviewed_by": ids["user"], **MADE,
        },
        "data_retention_policies": {
            **mine, "data_class": "MESSAGES", "keep_days": 90, "action": "DELETE", "updated_at": NOW,
        },
        "data_subject_requests": {
            **mine, "id": new_uuid7(), "customer_id": ids["customer"], "kind": "ACCESS", "received_at": NOW, "due_at": NOW,
        },
        "encryption_keys": {
            **mine, "id": new_uuid7(), "purpose": "CONTENT", "wrapped_key": b"w", "master_key_id": "m", **MADE,
        },
    }  # fmt: skip


async def insert_row(connection: Any, table: str, row: dict[str, Any]) -> None:
    """Inserts one row whatever the connection may."""
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"insert into {table} ({', '.join(row)}) values ({places})", *row.values())


TABLES = tuple(tenant_rows(UUID(int=1)))
# Only ever added to; see protect_tenant_table().
APPEND_ONLY = {"data_access_audit", "security_audit_log", "order_session_events"}


def tenant_column(table: str) -> str:
    return "id" if table == "distributors" else "distributor_id"
