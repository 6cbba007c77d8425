"""What `waystation simulate` makes up holds before the provider's own adapter, and says what the customer wrote."""

from typing import Any
from uuid import UUID

import pytest
from multidict import CIMultiDict

from channels.base import Channel, ChannelAccount, InboundMessage, InboundRequest, MessageType
from channels.errors import InvalidInput, UnknownAccount, VerificationFailed
from channels.registry import build_adapters
from gateway.dev.simulated_posts import Written, make_post
from gateway.dev.stand_ins.mail_posts import MailFile
from gateway.dev.stand_ins.sendgrid_posts import new_signing_key
from handlers.runtime import new_uuid7, utc_now

LOGIN = {"username": "hook", "password": "a-password"}
MAILS: dict[str, dict[str, Any]] = {
    "sendgrid": {
        "api_key": "SG.x",
        "event_public_key": new_signing_key()[1],
        "inbound_basic_auth": LOGIN,
    },
    "mailgun": {"api_key": "k", "signing_key": "s", "domain": "shop.example"},
    "postmark": {"server_token": "t", "basic_auth": LOGIN},
    "mime": {"hmac_secret": "a-secret"},
}
META = {
    "phone_number_id": "106540352242922",
    "waba_id": "102290129340398",
    "app_secret": "an-app-secret",
    "access_token": "EAAx",
    "verify_token": "v",
}
PDF = MailFile("orden.pdf", "application/pdf", b"%PDF-1.4")
TOKEN = "0123456789abcdef" * 2


def account(provider: str, credentials: dict[str, Any], channel: Channel, address: str) -> ChannelAccount:
    return ChannelAccount(UUID(int=1), UUID(int=2), channel, provider, address, credentials)


def read(account: ChannelAccount, message: Written) -> InboundMessage:
    post = make_post(account, message)
    request = InboundRequest(
        "POST", f"https://gw.example.test/in/{account.provider}/x", CIMultiDict(post.headers), post.body
    )
    adapter = build_adapters()[account.provider]
    adapter.verify(account, request)
    with pytest.raises(VerificationFailed):
        adapter.verify(account, InboundRequest("POST", request.url, CIMultiDict(), b"{}"))
    (item,) = adapter.parse(account, request)
    assert isinstance(item, InboundMessage)
    return item


@pytest.mark.parametrize("provider", MAILS)
def test_a_mail(provider: str):
    ours = account(provider, MAILS[provider], Channel.EMAIL, "orders@shop.example")
    message = Written(
        sender="rosa@tienda.example",
        recipient=f"orders+{TOKEN}@shop.example",
        text="2 cajas de piñas",
        at=utc_now(),
        new_id=new_uuid7(),
        subject="Re: Pedido ñ",
        reply_to="<one@shop.example>",
        file=PDF,
    )

    item = read(ours, message)

    assert (item.sender, item.text, item.type) == (
        "rosa@tienda.example",
        "2 cajas de piñas",
        MessageType.TEXT,
    )
    assert item.thread is not None
    assert item.thread.subject == "Re: Pedido ñ"
    assert item.thread.in_reply_to == item.thread.references == ("one@shop.example",)
    assert item.thread.reply_tokens == (TOKEN,)
    assert [(file.filename, file.content_type) for file in item.attachments] == [
        ("orden.pdf", PDF.content_type)
    ]
    assert item.automated is None


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (None, MessageType.TEXT),
        (PDF, MessageType.FILE),
        (MailFile("a.png", "image/png", b"\x89PNG"), MessageType.IMAGE),
    ],
    ids=["text", "document", "picture"],
)
def test_a_chat_over_meta(file: MailFile | None, kind: MessageType):
    ours = account("whatsapp_cloud", META, Channel.WHATSAPP, "+525555550101")
    media_id = "1234567890" if file else None
    message = Written(
        "+525555550204",
        ours.address,
        "2 cajas",
        utc_now(),
        new_uuid7(),
        reply_to="wamid.x",
        file=file,
        media_id=media_id,
    )

    item = read(ours, message)

    assert (item.sender, item.text, item.type) == ("+525555550204", "2 cajas", kind)
    assert item.reply_to_provider_id == "wamid.x"
    assert [one.url for one in item.attachments] == ([f"media:{media_id}"] if file else [])


@pytest.mark.parametrize(
    ("provider", "credentials", "words"),
    [
        ("resend", {}, "fetched from Resend"),
        ("ses", {}, "Only Amazon can sign"),
        ("sendgrid", {**MAILS["sendgrid"], "inbound_public_key": "x"}, "Only SendGrid has the key"),
        ("hello", {}, "Posts of hello"),
    ],
)
def test_what_only_the_provider_can_make_is_said_so(provider: str, credentials: dict[str, Any], words: str):
    ours = account(provider, credentials, Channel.EMAIL, "orders@shop.example")
    with pytest.raises(UnknownAccount, match=words):
        make_post(ours, Written("a@b.example", ours.address, "x", utc_now(), new_uuid7()))


@pytest.mark.parametrize("provider", MAILS)
@pytest.mark.parametrize(
    "odd",
    [
        {"sender": "señora@tienda.example"},
        {"subject": "Pedido\nBcc: all@shop.example"},
        {"reply_to": "ñ@shop.example"},
        {"file": MailFile("two\nlines.pdf", "application/pdf", b"%PDF-1.4")},
        {"file": MailFile("latin\udcf1.pdf", "application/pdf", b"%PDF-1.4")},
    ],
)
def test_what_no_mail_can_hold_is_refused(provider: str, odd: dict[str, Any]):
    ours = account(provider, MAILS[provider], Channel.EMAIL, "orders@shop.example")
    plain: dict[str, Any] = {"sender": "rosa@tienda.example", "recipient": ours.address, "text": "hola"}
    with pytest.raises(InvalidInput, match="No mail can be made of this"):
        make_post(ours, Written(**(plain | odd), at=utc_now(), new_id=new_uuid7()))
