"""Posts as SendGrid makes them: mails by Inbound Parse in its raw mode, and what became of ours by the Event Webhook.

Source: SendGrid docs, "Setting Up The Inbound Parse Webhook", "Securing your Inbound Parse Webhooks" and "Event Webhook
Reference".
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from channels.basic_auth import Login, basic_authorisation
from channels.signatures_mail import SENDGRID_SIGNATURE, SENDGRID_TIMESTAMP, sendgrid_signature
from gateway.dev.stand_ins.mail_posts import PostedMail, SignedPost, form_post


def new_signing_key() -> tuple[ec.EllipticCurvePrivateKey, str]:
    """A key of SendGrid's, and its public half as the pages of SendGrid show it."""
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key, base64.b64encode(der).decode("ascii")


def inbound_post(mail: PostedMail) -> SignedPost:
    """A mail in raw mode, without what proves whose post it is."""
    return form_post(
        {
            "dkim": "{@tienda.example : pass}",
            "email": mail.raw,
            "to": mail.recipient,
            "from": mail.sender,
            "sender_ip": "192.0.2.49",
            "spam_report": "",
            "envelope": json.dumps({"to": [mail.recipient], "from": mail.sender}),
            "charsets": json.dumps({"to": "UTF-8", "from": "UTF-8"}),
            "SPF": "pass",
        }
    )


def event_post(sent: Mapping[str, Any], identifier: str, word: str, at: datetime) -> SignedPost:
    """One event of a mail; ``sent`` is the document that was sent, ``identifier`` what it was answered with."""
    (personalization,) = sent["personalizations"]
    event = {
        "email": personalization["to"][0]["email"],
        "timestamp": int(at.timestamp()),
        "event": word,
        "sg_event_id": f"{identifier}-{word}",
        "sg_message_id": f"{identifier}.recvd-7c5b8f-stand-in-0",
        **personalization.get("custom_args", {}),
    }
    return SignedPost(json.dumps([event]).encode(), {"Content-Type": "application/json"})


def signed(post: SignedPost, key: ec.EllipticCurvePrivateKey, at: datetime) -> SignedPost:
    """The post with SendGrid's signature."""
    timestamp = str(int(at.timestamp()))
    proof = {SENDGRID_TIMESTAMP: timestamp, SENDGRID_SIGNATURE: sendgrid_signature(key, timestamp, post.body)}
    return replace(post, headers={**post.headers, **proof})


def with_login(post: SignedPost, login: Login) -> SignedPost:
    """The post with the name and password of the hook's URL."""
    return replace(post, headers={**post.headers, "Authorization": basic_authorisation(login)})
