"""The suite itself is tried: an adapter with one fault fails the row that is there to find it."""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog

from channels.base import (
    ChannelAccount,
    Ignored,
    InboundItem,
    InboundMessage,
    InboundRequest,
    MessageStatus,
    OutboundMessage,
    SendReceipt,
    StatusUpdate,
)
from channels.errors import (
    MalformedPayload,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    VerificationFailed,
)
from channels.hello import SIGNATURE, HelloAdapter, hello_signature
from db.embedded import EmbeddedPostgres
from handlers.runtime import Runtime
from tests.conformance.kits.hello import KIT, side
from tests.conformance.rows import ROWS
from tests.conformance.stage import Stage
from tests.gateways import serving

CHECKS = {row.name: row.check for row in ROWS}


class TrustsAll(HelloAdapter):
    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        pass


class TrustsNobody(HelloAdapter):
    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        raise VerificationFailed


class TrustsAnySignature(HelloAdapter):
    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        if SIGNATURE not in request.headers:
            raise VerificationFailed


class ComparesTheBeginning(HelloAdapter):
    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        given = request.headers.get(SIGNATURE, "")
        good = [hello_signature(secret, request.body) for secret in account.credentials["secrets"]]
        if not any(given[:60] == one[:60] for one in good):
            raise VerificationFailed


class KnowsTheNewestOnly(HelloAdapter):
    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        newest = {**account.credentials, "secrets": account.credentials["secrets"][:1]}
        super().verify(replace(account, credentials=newest), request)


class TellsTheSignature(HelloAdapter):
    """Where it is refused, the denial's answer is ours; a log is what it can leak to."""

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        structlog.get_logger("hello").info("verify", secrets=account.credentials["secrets"])
        super().verify(account, request)


class NewKeys(HelloAdapter):
    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        return tuple(
            replace(item, provider_key=str(uuid4())) if isinstance(item, InboundMessage) else item
            for item in super().parse(account, request)
        )


class ReadsOtherwiseEachTime(HelloAdapter):
    """Its messages depend on more than the post."""

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        items = super().parse(account, request)
        first = next((item for item in items if isinstance(item, InboundMessage)), None)
        return (replace(first, text=str(uuid4())),) if first else items


class Drops(HelloAdapter):
    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        super().parse(account, request)
        return (Ignored("lost"),)


class Crashes(HelloAdapter):
    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        try:
            return super().parse(account, request)
        except MalformedPayload:
            raise KeyError("id") from None


class Strict(HelloAdapter):
    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        if b"field_of_next_year" in request.body or b"typing" in request.body:
            raise MalformedPayload
        return super().parse(account, request)


class WrongStatus(HelloAdapter):
    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        return tuple(
            replace(item, status=MessageStatus.SENT) if isinstance(item, StatusUpdate) else item
            for item in super().parse(account, request)
        )


class NoCap(HelloAdapter):
    body_cap = 10**9


class OtherRefusal(HelloAdapter):
    refusal_status = HTTPStatus.UNAUTHORIZED

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        return dict(credentials)


class SendsTwice(HelloAdapter):
    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        await super().send(account, message)
        return await super().send(account, message)


class HopesForTheBest(HelloAdapter):
    """Takes whatever went wrong for a refusal, so that it is sent again."""

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        try:
            return await super().send(account, message)
        except (OutcomeUnknown, Throttled):
            raise ProviderUnavailable from None


class TellsTheKey(HelloAdapter):
    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        try:
            return await super().send(account, message)
        except Throttled:
            raise Throttled(f"Bearer {account.credentials['api_key']}") from None


FAULTS: list[tuple[type[HelloAdapter], set[str]]] = [
    (TrustsAll, {"bad_signature", "missing_signature", "flipped_signature", "changed_body", "other_account", "wrong_tenant", "get", "constant_refusals"}),
    (TrustsNobody, {"good_signature", "replay", "parallel_duplicates", "unknown_field", "unknown_event", "status", "database_away"}),
    (TrustsAnySignature, {"bad_signature", "changed_body", "other_account", "wrong_tenant", "constant_refusals"}),
    (ComparesTheBeginning, {"flipped_signature"}),
    (KnowsTheNewestOnly, {"rotated_signature"}),
    (TellsTheSignature, {"redaction"}),
    (NewKeys, {"replay", "parallel_duplicates"}),
    (ReadsOtherwiseEachTime, {"read_again"}),
    (Drops, {"good_signature", "replay", "database_away", "status"}),
    (Crashes, {"malformed"}),
    (Strict, {"unknown_field", "unknown_event"}),
    (WrongStatus, {"status"}),
    (OtherRefusal, {"credentials"}),
    (SendsTwice, {"send_success"}),
    (HopesForTheBest, {"send_throttled", "send_timeout"}),
    (TellsTheKey, {"redaction"}),
]  # fmt: skip


@pytest.mark.parametrize(("faulty", "rows"), FAULTS, ids=[faulty.__name__ for faulty, _ in FAULTS])
async def test_a_fault_is_found_by_its_rows(
    runtime: Runtime,
    postgres: EmbeddedPostgres,
    admin_dsn: str,
    tmp_path: Path,
    faulty: type[HelloAdapter],
    rows: set[str],
):
    name = admin_dsn.partition("?")[0].rpartition("/")[2]
    async with side(KIT, faulty) as at_provider, serving(runtime, tmp_path, at_provider.adapters) as client:
        stage = Stage(KIT, at_provider, runtime, client, postgres.dsn, name)
        held = {row for row in rows if await _holds(stage, row)}

    assert held == set()


async def _holds(stage: Stage, row: str) -> bool:
    try:
        await CHECKS[row](stage)
    except (Exception, pytest.fail.Exception):  # noqa: BLE001 - however it fails, it fails
        return False
    return True


def test_every_row_has_a_fault_that_it_finds():
    """But those that only the gateway itself can break, whatever the adapter does."""
    found = {name for _, rows in FAULTS for name in rows}
    assert set(CHECKS) - found == {"oversize", "deleted_account", "send_server_error"}
