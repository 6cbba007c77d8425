"""The rows of the quality table: what every channel must do, each a check on a stage."""

import asyncio
import string
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest
from structlog.testing import capture_logs

from channels.abilities import Deferring, OneTimeTokens
from channels.base import ChannelAccount, InboundRequest, OwnFault
from channels.credentials import described
from channels.errors import GatewayError, OutcomeUnknown, ProviderUnavailable, Rejected, Throttled
from handlers.replaying import ReplayTools, replay_event
from tests.conformance.kit import ChannelKit, Post, SendFault
from tests.conformance.stage import Answer, Stage

Check = Callable[[Stage], Awaitable[None]]
_BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
_AT_ONCE = 20
_MOST_FLIPS = 600
ErrorT = TypeVar("ErrorT", bound=GatewayError)


@dataclass(frozen=True, slots=True)
class Row:
    """One promise: its name in kits, how the table says it, and how it is checked."""

    name: str
    promise: str
    check: Check


async def good_signature(stage: Stage) -> None:
    account = await stage.account()

    answer = await stage.deliver(account, stage.message())

    expected = stage.adapter.acknowledge()
    assert (answer.status, answer.text) == (expected.status, expected.body.decode())
    assert await stage.stored(account) == 1
    if not isinstance(stage.adapter, Deferring):
        assert await stage.messages(account) == 1


async def bad_signature(stage: Stage) -> None:
    account = await stage.account()
    message = stage.message()
    broken = next(_flips(message, stage.signed(account, message)))

    assert await _refused(stage, account, broken)


async def missing_signature(stage: Stage) -> None:
    account = await stage.account()

    assert await _refused(stage, account, stage.message())


async def flipped_signature(stage: Stage) -> None:
    account = await stage.account()
    plain = stage.message()
    signed = stage.signed(account, plain)
    _verify(stage, account, signed)

    flips = list(_flips(plain, signed))

    assert flips, "signing changed nothing that could be flipped"
    for flipped in flips:
        with pytest.raises(Rejected):
            _verify(stage, account, flipped)


async def changed_body(stage: Stage) -> None:
    """A signature is of one body: where it does not cover it, its token is used up by the first one."""
    account = await stage.account()
    signed = stage.signed(account, stage.message("2 cajas"))
    changed = replace(signed, body=signed.body.replace(b"cajas", b"latas"))
    assert changed != signed, "the text is not in the body as it is"
    once = isinstance(stage.adapter, OneTimeTokens)
    if once:
        assert (await stage.post(account, signed)).status < 300

    answer = await stage.post(account, changed)

    assert (answer.status, answer.text) == (stage.adapter.refusal_status, "Forbidden.")
    assert await stage.stored(account) == int(once)


async def rotated_signature(stage: Stage) -> None:
    rotated = stage.kit.rotated
    assert rotated is not None, "a kit without two secrets says why"
    account = await stage.account(rotated)

    for credentials in (stage.kit.credentials, rotated):
        assert (await stage.deliver(account, stage.message(), credentials)).status < 300
    assert await stage.stored(account) == 2


async def other_account(stage: Stage) -> None:
    """Each account's secret opens that account, and no other."""
    account, other = await stage.account(), await stage.account(stage.kit.other)
    message = stage.message()
    _verify(stage, other, stage.signed(other, message, stage.kit.other))

    assert await _refused(stage, account, stage.signed(account, message, stage.kit.other))


async def wrong_tenant(stage: Stage) -> None:
    """A post that is whole and signed, for another tenant's URL."""
    account, other = await stage.account(), await stage.account(stage.kit.other)
    theirs = stage.signed(other, stage.message(), stage.kit.other)

    assert await _refused(stage, account, theirs)
    assert await stage.stored(other) == 0


async def replay(stage: Stage) -> None:
    account = await stage.account()
    message = stage.message()
    for _ in range(3):
        assert (await stage.deliver(account, message)).status < 300

    assert await stage.stored(account) == 1


async def read_again(stage: Stage) -> None:
    """What `waystation replay` does with it, which has the post without the headers that let somebody in."""
    account = await stage.account()
    await stage.deliver(account, stage.message())
    async with stage.runtime.database.tenant(account.distributor_id) as connection:
        events = await connection.fetch("select id from inbound_events")
    tools = ReplayTools(stage.side.adapters, lambda _channel: 0.0)

    replays = [await replay_event(stage.runtime, tools, row["id"], None, dry_run=True) for row in events]

    assert [[item.state for item in replay.items] for replay in replays] == [["same"]]


async def parallel_duplicates(stage: Stage) -> None:
    account = await stage.account()
    signed = stage.signed(account, stage.message())

    answers = await asyncio.gather(*(stage.post(account, signed) for _ in range(_AT_ONCE)))

    assert {answer.status for answer in answers} == {stage.adapter.acknowledge().status}
    assert await stage.stored(account) == 1


async def oversize(stage: Stage) -> None:
    account = await stage.account()
    message = stage.message()
    padded = replace(message, body=message.body + b" " * (stage.adapter.body_cap + 1 - len(message.body)))

    assert (await stage.post(account, padded)).status == 413
    assert await stage.stored(account) == 0


async def malformed(stage: Stage) -> None:
    account = await stage.account()
    for post in stage.kit.malformed:
        assert (await stage.deliver(account, post)).status == 400, post
    assert await stage.stored(account) == 0


async def unknown_field(stage: Stage) -> None:
    account = await stage.account()

    answer = await stage.deliver(account, stage.kit.with_unknown_field(stage.message()))

    assert answer.status < 300
    assert await stage.stored(account) == 1


async def unknown_event(stage: Stage) -> None:
    account = await stage.account()
    event = stage.kit.unknown_event
    assert event is not None, "a kit without one says why"

    assert (await stage.deliver(account, event)).status < 300
    assert await stage.stored(account) == 0


async def status(stage: Stage) -> None:
    account = await stage.account()
    assert stage.kit.status is not None, "a kit without statuses says why"
    message_id, provider_id = await stage.our_message(account)

    for _ in range(2):
        post = stage.kit.status(message_id, provider_id, stage.kit.delivered)
        assert (await stage.deliver(account, post)).status < 300

    assert await stage.status_of(account, message_id) == "DELIVERED"


async def deleted_account(stage: Stage) -> None:
    account = await stage.account()
    async with stage.runtime.database.tenant(account.distributor_id) as connection:
        await connection.execute("update channel_accounts set deleted_at = now()")

    answer = await stage.deliver(account, stage.message())

    assert (answer.status, answer.text) == (404, "Unknown account.")
    assert await stage.stored(account) == 0


async def database_away(stage: Stage) -> None:
    account = await stage.account()
    await stage.deliver(account, stage.message())
    message = stage.message()
    kept = stage.adapter.own_fault is OwnFault.LOST

    async with stage.database_away():
        answer = await stage.deliver(account, message)

    if kept:
        assert answer.status == stage.adapter.acknowledge().status
        await stage.replay_spool()
    else:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert (await stage.deliver(account, message)).status < 300
    assert await stage.stored(account) == 2


async def get(stage: Stage) -> None:
    """Nobody learns anything by GET, and a provider that asks by it is answered by its own rule only."""
    account = await stage.account()

    answer = await stage.post(account, Post(method="GET"))

    assert answer.status == stage.adapter.refusal_status
    assert await stage.stored(account) == 0


async def constant_refusals(stage: Stage) -> None:
    """No answer holds a signature that would have been right."""
    account = await stage.account()
    message = stage.message()
    good = stage.signed(account, message)
    bad = stage.signed(account, message, stage.kit.other)
    answers = [await stage.post(account, post) for post in (bad, message)]

    assert {(answer.status, answer.text) for answer in answers} == {
        (stage.adapter.refusal_status, "Forbidden.")
    }
    assert not _shown(stage.kit, account, good, answers)


async def send_success(stage: Stage) -> None:
    account, before = await stage.account(), stage.side.taken()

    receipt = await stage.adapter.send(account, stage.outbound())

    assert receipt.provider_message_id
    assert stage.side.taken() == before + 1


async def send_throttled(stage: Stage) -> None:
    await _sent_with(stage, SendFault.THROTTLED, Throttled)


async def send_server_error(stage: Stage) -> None:
    """Either nothing was taken, or nobody knows."""
    await _sent_with(stage, SendFault.SERVER_ERROR, (ProviderUnavailable, OutcomeUnknown))


async def send_timeout(stage: Stage) -> None:
    await _sent_with(stage, SendFault.HANG, OutcomeUnknown)


async def redaction(stage: Stage) -> None:
    """No secret shows in logs, answers or the texts of errors, whatever went wrong."""
    account = await stage.account()
    told: list[object] = []
    with capture_logs() as logs:
        message = stage.message()
        told += [
            await stage.deliver(account, message),
            await stage.deliver(account, message, stage.kit.other),
        ]
        for fault in (None, *SendFault):
            if fault:
                stage.side.script(fault)
            try:
                await stage.adapter.send(account, stage.outbound())
            except GatewayError as error:
                told.append(traceback.format_exception(error))

    secrets = stage.kit.secrets | stage.adapter.redact(account.credentials)
    assert secrets, "a channel without a secret"
    assert [secret for secret in secrets if secret in f"{logs} {told} {account}"] == []


async def credentials(stage: Stage) -> None:
    """They are checked when they are given: unknown fields are refused, values are never repeated."""
    valid = stage.adapter.validate_credentials(stage.kit.credentials)
    assert stage.adapter.validate_credentials(valid) == valid
    wrong = [{**stage.kit.credentials, "field_of_nobody": "x"}, {}]
    wrong += [{**stage.kit.credentials, name: {"never": "repeated"}} for name in stage.kit.credentials]
    for given in wrong:
        with pytest.raises(ValueError, match=r".") as refused:
            stage.adapter.validate_credentials(given)
        assert "repeated" not in str(refused.value)
        assert not any(secret in str(refused.value) for secret in stage.kit.secrets)
    told = described(stage.adapter)
    assert [name for name in stage.kit.credentials if f"`{name}" not in told] == [], told


async def _refused(stage: Stage, account: ChannelAccount, post: Post) -> bool:
    """Whether it is answered as a wrong signature, and nothing of it is stored."""
    answer = await stage.post(account, post)
    assert (answer.status, answer.text) == (stage.adapter.refusal_status, "Forbidden.")
    return await stage.stored(account) == 0


async def _sent_with(
    stage: Stage, fault: SendFault, expected: type[ErrorT] | tuple[type[ErrorT], ...]
) -> None:
    account = await stage.account()
    stage.side.script(fault)
    with pytest.raises(expected):
        await stage.adapter.send(account, stage.outbound())
    await stage.adapter.send(account, stage.outbound())  # the fault was one send's


def _verify(stage: Stage, account: ChannelAccount, post: Post) -> None:
    headers = stage.client_headers(post)
    stage.adapter.verify(account, InboundRequest(post.method, stage.url(account, post), headers, post.body))


def _flips(plain: Post, signed: Post) -> Iterator[Post]:
    """The signed post with each byte of what signing added changed: of its headers, or in its body."""
    for name, value in signed.headers.items():
        if plain.headers.get(name) != value:
            for at in range(len(value)):
                yield replace(signed, headers={**signed.headers, name: _flipped(value, at)})
    start, end = _changed(plain.body, signed.body)
    for at in range(start, end, max((end - start) // _MOST_FLIPS, 1)):
        body = signed.body[:at] + bytes([signed.body[at] ^ 1]) + signed.body[at + 1 :]
        yield replace(signed, body=body)


def _changed(plain: bytes, signed: bytes) -> tuple[int, int]:
    if plain == signed:
        return 0, 0
    start = next(
        (at for at, (one, other) in enumerate(zip(plain, signed, strict=False)) if one != other), len(plain)
    )
    tail = next(
        (
            at
            for at, (one, other) in enumerate(zip(plain[start:][::-1], signed[start:][::-1], strict=False))
            if one != other
        ),
        len(plain) - start,
    )
    return start, len(signed) - tail


def _flipped(text: str, at: int) -> str:
    """One character changed into its neighbour: the last bits of base64 that do not count must count, too."""
    place = _BASE64.find(text[at])
    other = _BASE64[place ^ 1] if place >= 0 else "A"
    return text[:at] + other + text[at + 1 :]


def _shown(kit: ChannelKit, account: ChannelAccount, good: Post, answers: list[Answer]) -> list[str]:
    """What of a good signature is in the answers."""
    plain_names = {name.casefold() for name in kit.message("x", "y").headers}
    values = [value for name, value in good.headers.items() if name.casefold() not in plain_names]
    texts = [f"{answer.text} {dict(answer.headers)}" for answer in answers]
    return [value for value in values if any(value in text for text in texts)]


ROWS = (
    Row(
        "good_signature",
        "A signed post is stored before it is answered as its provider expects",
        good_signature,
    ),
    Row("bad_signature", "A wrong signature is refused", bad_signature),
    Row("missing_signature", "A missing signature is refused", missing_signature),
    Row("flipped_signature", "A signature with any one byte changed is refused", flipped_signature),
    Row("changed_body", "A post that was changed after it was signed is refused", changed_body),
    Row("rotated_signature", "While a secret is rotated, the old and the new one count", rotated_signature),
    Row("other_account", "Another account's secret opens nothing", other_account),
    Row("wrong_tenant", "A good post for one tenant is nothing at another's URL", wrong_tenant),
    Row("replay", "The same post three times is one message", replay),
    Row("read_again", "A stored post reads again as it did", read_again),
    Row("parallel_duplicates", f"The same post {_AT_ONCE} times at once is one message", parallel_duplicates),
    Row("oversize", "A post over the cap is 413", oversize),
    Row("malformed", "A signed post of another form is 400, never a fault", malformed),
    Row("unknown_field", "Fields that are new do not matter", unknown_field),
    Row("unknown_event", "Events that are new are taken and stored nowhere", unknown_event),
    Row("status", "A delivery status reaches its message, twice is once", status),
    Row("deleted_account", "A deleted account's URL is 404", deleted_account),
    Row(
        "database_away",
        "With the database away nothing is lost: 503 or kept on disk, as the provider needs it",
        database_away,
    ),
    Row("get", "GET without a proof is refused", get),
    Row("constant_refusals", "Refusals are constant and hold no expected signature", constant_refusals),
    Row("send_success", "A send gives the provider's id", send_success),
    Row("send_throttled", "A 429 is throttling", send_throttled),
    Row(
        "send_server_error",
        "A 5xx is the provider's fault: not taken, or an unknown outcome",
        send_server_error,
    ),
    Row("send_timeout", "A time-out is an unknown outcome", send_timeout),
    Row("redaction", "No secret in logs, answers and errors", redaction),
    Row("credentials", "Credentials are checked and described, their values never repeated", credentials),
)
