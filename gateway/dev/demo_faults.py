"""The demo's steps about what goes wrong: a failing receiver, a forger, duplicates, STOP, a killed worker."""

import asyncio
import secrets
import signal
from http import HTTPStatus
from typing import Any

from channels.base import Channel
from channels.signatures import TWILIO_SIGNATURE, twilio_signature
from gateway.dev.demo_orders import see_event, see_order, see_reply
from gateway.dev.demo_story import JAMES, LUPE, PABLO, Customer, Story
from gateway.dev.observing import observe, observe_steady, require

_ATTEMPTS = """
select a.number, a.status_code, a.outcome, d.status
from webhook_delivery_attempts a
join webhook_deliveries d using (distributor_id, endpoint_id, event_id)
where 'evt_' || replace(a.event_id::text, '-', '') = $1
order by a.number
"""
_OPTED_OUT = "customer_contacts where channel = $1 and address = $2 and opted_out_at is not null"
_ANSWERS = ["500", "503", "204"]
_PARALLEL = 20
_QUIET_SECONDS = 1.5
# A send's lease (gateway/worker.py) is 20 s: what a dead worker held is taken over when it has run out.
_TAKE_OVER_SECONDS = 35.0
_LINES_CRASH = {"JUG-MAN-1L": 4.0}
_LINES_WAITING = {"REF-LIM-600": 6.0}


async def retry_deliveries(story: Story) -> str:
    """The receiver answers 500, then 503; the third try of the same event succeeds."""
    open_rows = "webhook_deliveries where status <> 'SUCCESS'"
    await observe(lambda: story.count(open_rows), lambda seen: seen == 0, "no other delivery on its way")
    await story.break_receiver(500, 503)
    await story.write_accepted(JAMES, "yes, please confirm")
    order = (await story.orders(JAMES))[-1]
    first = await see_event(story, "order.confirmed", {"order_id": str(order["id"])})
    tries = await observe(
        lambda: story.received(id=first["id"]),
        lambda seen: len(seen) == len(_ANSWERS),
        f"three tries of {first['id']}",
    )
    answers = [got["answer"] for got in tries]
    require(answers, answers == _ANSWERS, f"the answers {_ANSWERS}")
    verified = [got["verified"] for got in tries]
    require(verified, all(verified), "three good signatures")
    stamps = [int(got["headers"]["webhook-timestamp"]) for got in tries]
    require(stamps, stamps == sorted(set(stamps)), "a new timestamp on every try")
    await _see_attempts(story, first["id"])
    await see_reply(story, JAMES, 2, "confirmed")
    seconds = stamps[-1] - stamps[0]
    return f"{', '.join(answers)}: one webhook-id, new timestamps over {seconds} s, delivery SUCCESS"


async def _see_attempts(story: Story, event_id: str) -> None:
    wanted = [(1, 500, "failure", "SUCCESS"), (2, 503, "failure", "SUCCESS"), (3, 204, "success", "SUCCESS")]
    await observe(
        lambda: _attempts(story, event_id), lambda seen: seen == wanted, f"these recorded attempts: {wanted}"
    )


async def _attempts(story: Story, event_id: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in await story.rows(_ATTEMPTS, event_id)]


async def refuse_forgery(story: Story) -> str:
    """A forged signature, one for other words and none at all: 403 with a constant text, nothing stored."""
    before = await _stored(story)
    url = story.shop.inbound_urls[Channel.WHATSAPP]
    form = _form_of(story, PABLO)  # good in all but its signature
    token = story.stage.login.auth_token
    forgeries: tuple[dict[str, str], ...] = (
        {TWILIO_SIGNATURE: twilio_signature("not-the-token", url, form.items())},
        {TWILIO_SIGNATURE: twilio_signature(token, url, {**form, "Body": "1 caja"}.items())},
        {},
    )
    answers = [await _post(story, url, form, headers) for headers in forgeries]
    require(
        answers,
        set(answers) == {(HTTPStatus.FORBIDDEN, "Forbidden.")},
        "403 and a constant text, three times",
    )
    after = await _stored(story)
    require(after, after == before, f"nothing stored beyond {before}")
    return "wrong token, changed words, no signature: 403 each, nothing stored"


def _form_of(story: Story, customer: Customer) -> dict[str, str]:
    sid = "SM" + secrets.token_hex(16)
    return {
        "MessageSid": sid,
        "SmsSid": sid,
        "AccountSid": story.stage.login.account_sid,
        "From": customer.party,
        "To": customer.counterpart,
        "Body": "100 cajas de agua 600",
        "NumMedia": "0",
        "SmsStatus": "received",
        "ApiVersion": "2010-04-01",
    }


async def _post(story: Story, url: str, form: dict[str, str], headers: dict[str, str]) -> tuple[int, str]:
    async with story.stage.session.post(url, data=form, headers=headers) as response:
        return response.status, await response.text()


async def _stored(story: Story) -> dict[str, int]:
    tables = ("messages", "external_message_mappings", "customer_contacts", "conversations")
    return {table: await story.count(table) for table in tables}


async def swallow_duplicates(story: Story) -> str:
    """The provider posts one message many times at once: 2xx each time, one message, one turn, one reply."""
    sid = "SM" + secrets.token_hex(16)
    posts = (
        story.write(LUPE, "quiero 4 cajas de agua 600", fields={"MessageSid": sid}) for _ in range(_PARALLEL)
    )
    statuses = await asyncio.gather(*posts)
    require(statuses, set(statuses) == {200}, f"200 to each of {_PARALLEL} posts")
    await see_order(story, LUPE, {"AGU-NAT-600": 4.0}, "PENDING")
    await see_reply(story, LUPE, 1, "Tu pedido")
    stored = [message["provider_message_id"] for message in await story.messages(LUPE, "INBOUND")]
    require(stored, stored == [sid], "the message stored once")
    await observe_steady(
        lambda: story.sent(LUPE), lambda seen: len(seen) == 1, "only one reply", _QUIET_SECONDS
    )
    return f"{_PARALLEL} times 200 → 1 message, 1 order, 1 reply"


async def respect_stop(story: Story) -> str:
    """After STOP nothing is sent, not even what a person writes."""
    conversation = (await story.messages(LUPE, "INBOUND"))[0]["conversation_id"]
    before = len(await story.sent(LUPE))
    await story.write_accepted(LUPE, "STOP")
    opted_out = await story.count(_OPTED_OUT, LUPE.channel, LUPE.address)
    require(opted_out, opted_out == 1, "the contact to be opted out")
    await see_event(story, "customer.opted_out", {"address": LUPE.address})
    path = f"/v1/conversations/{conversation}/messages"
    status, problem = await story.shop.api.call("POST", path, {"text": "¿Segura? Tenemos ofertas."})
    require((status, problem), status == HTTPStatus.CONFLICT, "409 to a person who writes all the same")
    await observe_steady(
        lambda: story.sent(LUPE), lambda seen: len(seen) == before, "nothing more to be sent", _QUIET_SECONDS
    )
    return f"customer.opted_out told, a person's message refused (409 {problem['code']}), nothing sent"


async def survive_kill(story: Story) -> str:
    """The worker is killed when the provider has taken a message and not answered; another one finds out."""
    provider = story.stage.provider
    provider.hold_callbacks()
    await story.break_sends("hang")
    await story.write_accepted(JAMES, "please send 4 cases of apple juice")
    await see_order(story, JAMES, _LINES_CRASH, "PENDING", number=2)
    await see_reply(story, JAMES, 3, "Your order")
    await _kill_mid_send(story)
    await story.write_accepted(PABLO, "buenas, me manda 6 cajas de refresco de limón")
    waiting = await story.messages(PABLO, "INBOUND")
    require(waiting, len(waiting) == 1, "a message that comes while no worker lives to be stored")
    looked_up = provider.lookups
    successor = await story.stage.start_child("work-2", "work")
    await see_order(story, PABLO, _LINES_WAITING, "PENDING")
    await see_reply(story, PABLO, 1, "Tu pedido")
    await _see_found(story, looked_up)
    provider.release_callbacks()
    await observe(lambda: _last_out(story), lambda seen: seen["status"] == "DELIVERED", "status DELIVERED")
    return f"killed mid-send; worker {successor.pid} asked the provider: sent once, DELIVERED; nothing lost"


async def _kill_mid_send(story: Story) -> None:
    worker = story.stage.children["work"]
    sending = await _last_out(story)
    require(sending, sending["status"] == "SENDING", "the message to be SENDING")
    code = await worker.kill()
    require(code, code == -signal.SIGKILL, "the worker to be killed")
    left = await _last_out(story)
    require(
        left,
        left["status"] == "SENDING" and left["provider_message_id"] is None,
        "a message of which only the provider knows what became",
    )


async def _see_found(story: Story, looked_up: int) -> None:
    sid = (await story.sent(JAMES))[-1]["sid"]
    await observe(
        lambda: _last_out(story),
        lambda seen: (seen["status"], seen["provider_message_id"]) == ("SENT", sid),
        f"the message SENT as {sid}",
        _TAKE_OVER_SECONDS,
    )
    lookups = story.stage.provider.lookups - looked_up
    require(lookups, lookups > 0, "the provider to be asked what it has")
    sent = await story.sent(JAMES)
    require([held["body"] for held in sent], len(sent) == 3, "no second copy at the provider")  # noqa: PLR2004 - two replies before


async def _last_out(story: Story) -> dict[str, Any]:
    return (await story.messages(JAMES, "OUTBOUND"))[-1]
