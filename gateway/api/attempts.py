"""Attempts as they are answered: short in lists, with their evidence where one delivery is read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from db.rows import AttemptRecord
from gateway.api.schemas import Answer
from handlers.webhooks.delivery import MAX_EXCERPT_BYTES

SHORT_EXCERPT = 256  # characters
WHOLE_EXCERPT = MAX_EXCERPT_BYTES
_HEADERS = "Names in lower case; a value that is or may be a secret is `redacted`."


class Attempt(Answer):
    """One post and what came of it."""

    number: int
    trigger: str = Field(description="event, test, manual, replay or pull.")
    probe: bool = Field(
        description="Whether it tried an endpoint that had been failing; its failure cost the delivery no try."
    )
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error_class: str | None
    response_excerpt: str | None = Field(
        description=f"The answer's beginning: {SHORT_EXCERPT} characters in lists, 4 KiB where a delivery is read; empty for"
        " redirects, null once 30 days are over."
    )
    response_excerpt_truncated: bool
    outcome: str = Field(description="success, failure, or unknown while it runs or if it was interrupted.")
    next_attempt_at: datetime | None = Field(
        description="When the delivery was to be tried again, as decided then."
    )


class Timings(Answer):
    """Milliseconds of each phase; null where it was not reached or not needed, as on a connection that is used again."""

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    total_ms: float | None = None


class AttemptWithEvidence(Attempt):
    """One post with all that is known of it. Evidence is kept for 30 days; then it is empty or null."""

    url: str | None = Field(description="Where it was posted, without its query.")
    request_headers: Mapping[str, str] | None = Field(description=_HEADERS)
    request_headers_truncated: bool
    response_headers: Mapping[str, str] | None = Field(
        description=f"{_HEADERS} null without an answer, and for redirects and blocked addresses."
    )
    response_headers_truncated: bool
    address: str | None = Field(
        description="The IP address that was dialled; null where none was, or it was blocked."
    )
    tls_version: str | None
    connection_reused: bool
    timings: Timings
    key_ids: Sequence[str] = Field(description="Of the keys that signed, in the order of the signatures.")


def short_attempt(row: AttemptRecord) -> Attempt:
    return Attempt.model_validate(row)


def full_attempt(row: AttemptRecord) -> AttemptWithEvidence:
    evidence: Mapping[str, Any] = row.evidence or {}
    return AttemptWithEvidence(
        **short_attempt(row).model_dump(),
        url=evidence.get("url"),
        request_headers=evidence.get("request_headers"),
        request_headers_truncated=evidence.get("request_headers_truncated", False),
        response_headers=evidence.get("response_headers"),
        response_headers_truncated=evidence.get("response_headers_truncated", False),
        address=evidence.get("address"),
        tls_version=evidence.get("tls_version"),
        connection_reused=evidence.get("connection_reused", False),
        timings=Timings(**evidence.get("timings", {})),
        key_ids=evidence.get("key_ids", ()),
    )
