"""The demo's steps about other providers: an order by mail with a PDF, a thread that holds, a chat over Meta's own API."""

import base64
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from channels.base import Channel
from gateway.dev.demo_orders import describe, in_one_line, see_order
from gateway.dev.demo_story import Customer, MailAccount, Story
from gateway.dev.management import MAIL_ADDRESS
from gateway.dev.observing import observe, require
from gateway.dev.stand_ins.mail_posts import CustomerMail, MailFile, SignedPost, written
from gateway.dev.stand_ins.sendgrid_posts import event_post, inbound_post, new_signing_key, signed
from gateway.dev.stand_ins.whatsapp_cloud_posts import (
    BusinessNumber,
    message_post,
    signed_event,
    status_post,
    text_content,
)
from handlers.runtime import utc_now

ROSA = Customer("Rosa", Channel.EMAIL, "rosa@tienda-rosa.example")
ANA = Customer("Ana", Channel.WHATSAPP, "+525555550204")
_SHOP = MAIL_ADDRESS
_SECONDS = 20.0
_FIRST_ID = "order-1@tienda-rosa.example"
_PDF = MailFile("orden de compra.pdf", "application/pdf", b"%PDF-1.4\n% the demo's order\n%%EOF\n")
_ORDER = """Buenas tardes:

me mandan por favor 5 cajas de coca 600

Saludos,
Rosa

El lun, 23 nov 2026 a las 9:10, Abarrotes La Esquina <pedidos@laesquina.example>
escribió:

> Su pedido anterior:
> 40 cajas de agua 600
> Gracias por su compra
"""
_ORDER_LINES = {"REF-COLA-600": 5.0}
_CHAT = "quiero 2 cajas de agua 600"
_CHAT_LINES = {"AGU-NAT-600": 2.0}
_FILES = """
select a.id, a.state, a.size_bytes, a.sniffed_type from attachments a
join messages m on m.distributor_id = a.distributor_id and m.id = a.message_id
where m.id = $1
"""


async def order_by_mail(story: Story) -> str:
    """A mail with a quoted thread and a PDF: an order of what its writer added, a reply in its thread, a file by link."""
    account = await _open_mail_account(story)
    mail = CustomerMail(
        ROSA.address, _SHOP, _ORDER, _FIRST_ID, utc_now(), "Pedido de la semana", "Rosa Delgado", files=[_PDF]
    )
    posted = inbound_post(written(mail))
    for _ in range(2):  # SendGrid repeats what it takes for lost
        await _post(story, account.inbound_url, signed(posted, account.key, utc_now()))
    order = await see_order(story, ROSA, _ORDER_LINES, "PENDING")
    reply = await _see_mail(story, account, 1, "Tu pedido")
    headers = reply["headers"]
    require(headers, headers.get("In-Reply-To") == f"<{_FIRST_ID}>", f"In-Reply-To <{_FIRST_ID}>")
    require(reply["subject"], reply["subject"] == "Re: Pedido de la semana", "Re: with the mail's subject")
    require(headers, headers.get("Auto-Submitted") == "auto-replied", "Auto-Submitted: auto-replied")
    stored = await story.messages(ROSA, "INBOUND")
    require(len(stored), len(stored) == 1, "a mail that was posted twice to be stored once")
    await _see_file(story, stored[0])
    return f"mail → order ({describe(order)}), nothing of the quoted one; reply in its thread; PDF by link"


async def confirm_by_mail(story: Story) -> str:
    """The customer's program answers to the address with the thread's mark, and quotes: the same conversation goes on."""
    account = story.mail
    sent = (await story.taken("sendgrid"))[-1]["document"]
    quoted = "\n".join(f"> {line}" for line in sent["content"][0]["value"].splitlines())
    address, own_id = sent["reply_to"]["email"], sent["headers"]["Message-ID"].strip("<>")
    require(address, address != _SHOP, "a Reply-To with the thread's mark")
    mail = CustomerMail(
        ROSA.address,
        address,
        f"sí, confirmo\n\nEl sáb, 28 nov 2026 a las 18:02, {_SHOP} escribió:\n\n{quoted}\n",
        "order-2@tienda-rosa.example",
        utc_now(),
        sent["subject"],
        "Rosa Delgado",
        in_reply_to=own_id,
        references=[_FIRST_ID, own_id],
    )
    await _post(story, account.inbound_url, signed(inbound_post(written(mail)), account.key, utc_now()))
    await see_order(story, ROSA, _ORDER_LINES, "CONFIRMED")
    reply = await _see_mail(story, account, 2, "confirmado")
    references = reply["headers"].get("References", "")
    named = [f"<{_FIRST_ID}>", f"<{own_id}>", "<order-2@tienda-rosa.example>"]
    require(references, references.split() == named, f"References {named}")
    conversations = {message["conversation_id"] for message in await story.messages(ROSA, "INBOUND")}
    require(conversations, len(conversations) == 1, "one conversation")
    words = in_one_line(reply["content"][0]["value"].partition("[ref:")[0])
    return f"reply to {address.partition('+')[0]}+… → same conversation, order CONFIRMED: “{words}”"


async def _open_mail_account(story: Story) -> MailAccount:
    key, public = new_signing_key()
    api_key = f"SG.{secrets.token_urlsafe(16)}"
    story.stage.secrets.add(api_key)
    story.stage.stand_ins["sendgrid"].keys.add(api_key)
    made = await story.shop.api.create(
        "/v1/channel-accounts",
        {
            "channel": Channel.EMAIL,
            "provider": "sendgrid",
            "address": _SHOP,
            "credentials": {"api_key": api_key, "inbound_public_key": public, "event_public_key": public},
            "settings": {"sender_name": "Abarrotes La Esquina"},
        },
    )
    account = MailAccount(made["inbound_url"], made["status_url"], key)
    story.open_mail(account)
    return account


async def _post(story: Story, url: str, post: SignedPost) -> None:
    async with story.stage.session.post(url, data=post.body, headers=dict(post.headers)) as response:
        require(response.status, response.status == HTTPStatus.OK, f"200 to a post to {url}")


async def _see_mail(story: Story, account: MailAccount, number: int, words: str) -> dict[str, Any]:
    """The ``number``-th mail that SendGrid was given, which it then tells to have been delivered."""

    def is_it(taken: list[dict[str, Any]]) -> bool:
        return len(taken) == number and words in taken[-1]["document"]["content"][0]["value"]

    expected = f"mail {number} at SendGrid, with the words “{words}”"
    sent = (await observe(lambda: story.taken("sendgrid"), is_it, expected, _SECONDS))[-1]
    told = event_post(sent["document"], sent["id"], "delivered", utc_now())
    await _post(story, account.status_url, signed(told, account.key, utc_now()))
    document: dict[str, Any] = sent["document"]
    return document


async def _see_file(story: Story, message: Mapping[str, Any]) -> None:
    """The PDF is taken out of the stored post, kept, and given by a link of the API that needs no key."""
    await observe(
        lambda: story.rows(_FILES, message["id"]),
        lambda rows: [row["state"] for row in rows] == ["STORED"],
        "the PDF to be STORED",
        _SECONDS,
    )
    path = f"/v1/conversations/{message['conversation_id']}/messages"
    shown = (await story.shop.api.get(path))["data"]
    files = [file for one in shown for file in one["attachments"]]
    require(files, len(files) == 1 and bool(files[0]["url"]), "one file with a link in the API")
    kind, name = files[0]["content_type"], files[0]["filename"]
    require((kind, name), (kind, name) == (_PDF.content_type, _PDF.filename), "its type and its name")
    async with story.stage.session.get(files[0]["url"]) as response:
        content = await response.read()
    require(content, content == _PDF.content, "the bytes that were sent, by the link")


# Meta's own API


async def order_over_meta(story: Story) -> str:
    """Another account of the same channel, over Meta's Cloud API: signed post, order, reply, delivered."""
    secret = secrets.token_hex(16)
    number = BusinessNumber("102290129340398", "106540352242922", "525555550101")
    made = await _open_meta_account(story, number, secret)
    message_id = "wamid." + base64.b64encode(secrets.token_bytes(16)).decode()
    post = message_post(number, ANA.address, message_id, utc_now(), text_content(_CHAT), ANA.name)
    await _post(story, made["inbound_url"], _event(post, secret))
    order = await see_order(story, ANA, _CHAT_LINES, "PENDING")
    sent = await observe(lambda: _chats(story), lambda seen: len(seen) == 1, "one message at Meta", _SECONDS)
    text = str(sent[0]["document"]["text"]["body"])
    require(text, "Tu pedido" in text, "the words “Tu pedido”")
    told = status_post(number, sent[0]["document"], sent[0]["id"], "delivered", utc_now())
    await _post(story, made["inbound_url"], _event(told, secret))
    return f"WhatsApp over Meta → order ({describe(order)}) → “{in_one_line(text)}”"


async def _open_meta_account(story: Story, number: BusinessNumber, secret: str) -> Any:
    token = f"EAA{secrets.token_hex(16)}"
    story.stage.secrets.update((secret, token))
    credentials = {
        "phone_number_id": number.phone_number_id,
        "waba_id": number.waba_id,
        "app_secret": secret,
        "access_token": token,
        "verify_token": secrets.token_hex(8),
    }
    address = f"+{number.display}"
    body = {"channel": Channel.WHATSAPP, "provider": "whatsapp_cloud", "address": address}
    return await story.shop.api.create("/v1/channel-accounts", {**body, "credentials": credentials})


def _event(document: Mapping[str, Any], secret: str) -> SignedPost:
    return SignedPost(*signed_event(document, secret))


async def _chats(story: Story) -> list[dict[str, Any]]:
    """What Meta was given to send; signs of being read and of writing are none."""
    return [taken for taken in await story.taken("whatsapp_cloud") if "type" in taken["document"]]
