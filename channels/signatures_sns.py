"""Amazon SNS's signature on what it posts.

Source: AWS, "Verifying the signatures of Amazon SNS messages". The text that is signed is made of some fields of the JSON
body; the key is that of a certificate which the post names. A signature proves only that some topic of somebody's posted
it, so the account's own list of topics comes first.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm

from channels.errors import VerificationFailed

NOTIFICATION = "Notification"
SUBSCRIPTION = "SubscriptionConfirmation"
UNSUBSCRIPTION = "UnsubscribeConfirmation"
_CONFIRMED = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED_FIELDS: Mapping[str, Sequence[str]] = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: _CONFIRMED,
    UNSUBSCRIPTION: _CONFIRMED,
}
_MAY_BE_ABSENT = frozenset({"Subject"})
_HASHES: Mapping[str, type[HashAlgorithm]] = {"1": SHA1, "2": SHA256}
TOPIC = re.compile(
    r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z0-9-]{1,32}):[0-9]{12}:[A-Za-z0-9_.-]{1,256}", re.ASCII
)
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem", re.ASCII)

Document = Mapping[str, Any]


def signed_text(document: Document) -> bytes:
    """What SNS signs of a post; raises VerificationFailed where a field is missing or its kind is unknown."""
    lines: list[str] = []
    for name in SIGNED_FIELDS.get(_text(document, "Type"), ()):
        if document.get(name) is None and name in _MAY_BE_ABSENT:
            continue
        lines += [name, _text(document, name)]
    if not lines:
        raise VerificationFailed
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def verify_sns(document: Document, key: RSAPublicKey) -> None:
    """Raises VerificationFailed unless the key signed the post, by version 1 (SHA-1) or 2 (SHA-256)."""
    kind = _HASHES.get(_text(document, "SignatureVersion"))
    given = _text(document, "Signature")
    try:
        signature = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        raise VerificationFailed from None
    # Base64 has several spellings of some bytes; SNS writes the canonical one.
    if kind is None or base64.b64encode(signature).decode() != given:
        raise VerificationFailed
    try:
        key.verify(signature, signed_text(document), PKCS1v15(), kind())
    except InvalidSignature:
        raise VerificationFailed from None


def check_topic(document: Document, topics: Sequence[str]) -> str:
    """The host of the topic's region at SNS; raises VerificationFailed for a topic that is not the account's."""
    topic = _text(document, "TopicArn")
    found = TOPIC.fullmatch(topic)
    if found is None or topic not in topics:
        raise VerificationFailed
    return f"sns.{found[2]}.amazonaws.com" + (".cn" if found[1] == "aws-cn" else "")


def certificate_path(document: Document, host: str) -> str:
    """The path of the certificate at ``host``; raises VerificationFailed for any other URL than one of SNS's own."""
    return _path_at(document, "SigningCertURL", host, _CERTIFICATE)


def confirmation_url(document: Document, host: str) -> str:
    """The URL by which a subscription is confirmed; raises VerificationFailed for one that is not at ``host``."""
    _path_at(document, "SubscribeURL", host, re.compile("/"))
    return _text(document, "SubscribeURL")


def _path_at(document: Document, name: str, host: str, form: re.Pattern[str]) -> str:
    try:
        parts = urlsplit(_text(document, name))
    except ValueError:
        raise VerificationFailed from None
    if (parts.scheme, parts.netloc) != ("https", host) or not form.fullmatch(parts.path):
        raise VerificationFailed
    return parts.path


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise VerificationFailed
    return value
