"""Posts as Postmark makes them: mails with their MIME included, and the name and password of the hook's URL.

Source: Postmark docs, "Inbound webhook".
"""

import email
import json
from email.policy import default
from uuid import UUID

from channels.basic_auth import Login, basic_authorisation
from gateway.dev.stand_ins.mail_posts import PostedMail, SignedPost


def inbound_post(mail: PostedMail, login: Login, identifier: UUID) -> SignedPost:
    """A mail under Postmark's own ``identifier``."""
    read = email.message_from_bytes(mail.raw, policy=default)
    document = {
        "FromName": "",
        "MessageStream": "inbound",
        "From": mail.sender,
        "FromFull": {"Email": mail.sender, "Name": "", "MailboxHash": ""},
        "To": mail.recipient,
        "ToFull": [{"Email": mail.recipient, "Name": "", "MailboxHash": ""}],
        "OriginalRecipient": mail.recipient,
        "Subject": str(read.get("Subject", "")),
        "MessageID": str(identifier),
        "Date": str(read.get("Date", "")),
        "TextBody": "",
        "HtmlBody": "",
        "StrippedTextReply": "",
        "RawEmail": mail.raw.decode("utf-8", "replace"),
        "Headers": [{"Name": name, "Value": str(value)} for name, value in read.items()],
        "Attachments": [],
    }
    headers = {"Content-Type": "application/json", "Authorization": basic_authorisation(login)}
    return SignedPost(json.dumps(document, ensure_ascii=False).encode(), headers)
