"""What each provider but Twilio would post when a customer writes, signed with the account's own secrets."""

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from channels.base import ChannelAccount
from channels.errors import InvalidInput, UnknownAccount
from gateway.dev.stand_ins import (
    mailgun_posts,
    mime_posts,
    postmark_posts,
    sendgrid_posts,
    whatsapp_cloud_posts,
)
from gateway.dev.stand_ins.mail_posts import CustomerMail, MailFile, PostedMail, SignedPost, written
from gateway.dev.stand_ins.whatsapp_cloud_posts import BusinessNumber, text_content


@dataclass(frozen=True, slots=True)
class Written:
    """What the customer writes. ``recipient`` may bear a thread's mark; ``media_id`` is a file's at Meta."""

    sender: str
    recipient: str
    text: str
    at: datetime
    new_id: UUID
    subject: str = ""
    reply_to: str | None = None
    file: MailFile | None = None
    media_id: str | None = None


Make = Callable[[ChannelAccount, Written], SignedPost]


def make_post(account: ChannelAccount, message: Written) -> SignedPost:
    """The provider's post; raises UnknownAccount where only the provider itself can make it."""
    make = _MAKERS.get(account.provider)
    if make is None:
        raise UnknownAccount(
            _REASONS.get(account.provider, f"Posts of {account.provider} cannot be made up.")
        )
    return make(account, message)


def _sendgrid(account: ChannelAccount, message: Written) -> SignedPost:
    login = account.credentials.get("inbound_basic_auth")
    if login is None or account.credentials.get("inbound_public_key"):
        raise UnknownAccount(
            "Only SendGrid has the key that signs its posts; an account with inbound_basic_auth alone can be simulated."
        )
    return sendgrid_posts.with_login(sendgrid_posts.inbound_post(_mail(message)), login)


def _mailgun(account: ChannelAccount, message: Written) -> SignedPost:
    return mailgun_posts.inbound_post(_mail(message), account.credentials["signing_key"], message.at)


def _postmark(account: ChannelAccount, message: Written) -> SignedPost:
    login = account.credentials["basic_auth"]
    return postmark_posts.inbound_post(_mail(message), login, message.new_id)


def _mime(account: ChannelAccount, message: Written) -> SignedPost:
    return mime_posts.inbound_post(_mail(message), account.credentials["hmac_secret"], message.at)


def _mail(message: Written) -> PostedMail:
    """Raises InvalidInput for a line break in a header, and for other than ASCII signs where mails have none."""
    try:
        return written(_customer_mail(message))
    except ValueError:
        raise InvalidInput(
            "No mail can be made of this: its addresses and ids are of ASCII signs, and neither they nor its subject"
            " nor its file's name have line breaks.",
            field="mail",
        ) from None


def _customer_mail(message: Written) -> CustomerMail:
    return CustomerMail(
        sender=message.sender,
        recipient=message.recipient,
        text=message.text,
        message_id=f"{message.new_id.hex}@{message.sender.rpartition('@')[2]}",
        at=message.at,
        subject=message.subject,
        in_reply_to=message.reply_to.strip().strip("<>") if message.reply_to else None,
        files=[message.file] if message.file else [],
    )


def _whatsapp_cloud(account: ChannelAccount, message: Written) -> SignedPost:
    credentials = account.credentials
    number = BusinessNumber(
        credentials["waba_id"], credentials["phone_number_id"], account.address.lstrip("+")
    )
    content = {**_content(message), **({"context": {"id": message.reply_to}} if message.reply_to else {})}
    message_id = "wamid." + base64.b64encode(secrets.token_bytes(16)).decode("ascii")
    document = whatsapp_cloud_posts.message_post(number, message.sender, message_id, message.at, content)
    return SignedPost(*whatsapp_cloud_posts.signed_event(document, credentials["app_secret"]))


def _content(message: Written) -> Mapping[str, object]:
    if message.media_id is None or message.file is None:
        return text_content(message.text)
    kind = message.file.content_type.partition("/")[0]
    kind = kind if kind in {"image", "video", "audio"} else "document"
    media = {"id": message.media_id, "mime_type": message.file.content_type, "caption": message.text}
    return {"type": kind, kind: media | ({"filename": message.file.filename} if kind == "document" else {})}


_MAKERS: Mapping[str, Make] = MappingProxyType(
    {
        "mailgun": _mailgun,
        "mime": _mime,
        "postmark": _postmark,
        "sendgrid": _sendgrid,
        "whatsapp_cloud": _whatsapp_cloud,
    }
)
_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "resend": "A post of Resend only tells of a mail, which is then fetched from Resend: it cannot be simulated.",
        "ses": "Only Amazon can sign what its notifications bring: they cannot be simulated.",
    }
)
