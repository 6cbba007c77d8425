"""Posts as Mailgun makes them: mails that a route forwards as MIME, signed by the key of HTTP webhooks.

Source: Mailgun docs, "Receiving Messages via HTTP through a forward() action" and "Securing webhooks".
"""

import secrets
from datetime import datetime

from channels.signatures_mail import mailgun_signature
from gateway.dev.stand_ins.mail_posts import PostedMail, SignedPost, form_post


def inbound_post(mail: PostedMail, signing_key: str, at: datetime) -> SignedPost:
    """A mail with a token of its own, signed."""
    return form_post(
        {
            "recipient": mail.recipient,
            "sender": mail.sender,
            **signature_fields(signing_key, at),
            "body-mime": mail.raw,
        }
    )


def signature_fields(signing_key: str, at: datetime) -> dict[str, str]:
    """``timestamp``, ``token`` and ``signature`` of one post."""
    timestamp, token = str(int(at.timestamp())), secrets.token_hex(25)
    return {
        "timestamp": timestamp,
        "token": token,
        "signature": mailgun_signature(signing_key, timestamp, token),
    }
