"""Posts as a mail server of the tenant's own makes them: the MIME itself, signed by the account's secret."""

from datetime import datetime

from channels.signatures_mime import MIME_SIGNATURE, mime_signature
from gateway.dev.stand_ins.mail_posts import PostedMail, SignedPost


def inbound_post(mail: PostedMail, secret: str, at: datetime) -> SignedPost:
    """A mail, signed."""
    return SignedPost(
        mail.raw, {"Content-Type": "message/rfc822", MIME_SIGNATURE: mime_signature(secret, mail.raw, at)}
    )
