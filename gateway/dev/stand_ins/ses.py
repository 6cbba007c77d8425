"""A stand-in of Amazon SES, SNS and S3: takes mails as SESv2 does, gives objects, and signs posts as SNS does.

Signatures of requests are checked for the access keys that ``state.held`` knows under ``secret:<access key id>``; objects
are under ``object:<bucket>/<key>``. SNS's posts are signed with a key made for this process.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from channels.signatures_sns import SIGNED_FIELDS, TOPIC
from channels.sigv4 import AwsKey, AwsScope, sign_request
from gateway.dev.stand_ins.base import StandInState, with_faults

CERTIFICATE = "SimpleNotificationService-0000000000000000000000000000cafe.pem"
_HASHES = {"1": SHA1, "2": SHA256}
_CREDENTIAL = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\w+)/\d{8}/([a-z0-9-]+)/(\w+)/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=\w{64}"
)
Document = dict[str, Any]


def routes(state: StandInState) -> Sequence[web.RouteDef]:
    """SendEmail, GetObject, the certificate, and the page that confirms a subscription."""

    async def send(request: web.Request) -> web.Response:
        body = await request.read()
        if refusal := _authorise(state, request, body, "ses"):
            return refusal
        if complaint := _complaint(body):
            return _error(HTTPStatus.BAD_REQUEST, "BadRequestException", complaint)
        identifier = f"010001{state.new_id().hex}-{state.new_id().hex[:8]}-000000"
        state.take(request, identifier, json.loads(body))
        return web.json_response({"MessageId": identifier})

    async def read_object(request: web.Request) -> web.Response:
        if refusal := _authorise(state, request, b"", "s3"):
            return refusal
        held = state.held.get(f"object:{request.match_info['bucket']}/{request.match_info['key']}")
        return web.Response(body=held) if held is not None else web.Response(status=HTTPStatus.NOT_FOUND)

    async def confirm(request: web.Request) -> web.Response:
        state.take(request, request.query.get("Token", ""), dict(request.query))
        return web.Response(text="<ConfirmSubscriptionResponse/>", content_type="text/xml")

    async def certificate(_request: web.Request) -> web.Response:
        return web.Response(body=signing_certificate())

    return [
        web.post("/ses/v2/email/outbound-emails", with_faults(state, send)),
        web.get("/ses/s3/{bucket}/{key:.+}", read_object),
        web.get("/ses/", confirm),
        web.get(f"/ses/{CERTIFICATE}", certificate),
    ]


def signed(document: Mapping[str, Any], version: str = "2") -> Document:
    """An SNS post with its signature and the URL of the certificate, at the host of the topic's region."""
    found = TOPIC.fullmatch(document["TopicArn"])
    region = found[2] if found else "us-east-1"
    names = [name for name in SIGNED_FIELDS[document["Type"]] if document.get(name) is not None]
    text = "".join(f"{name}\n{document[name]}\n" for name in names)
    signature = _key().sign(text.encode(), PKCS1v15(), _HASHES[version]())
    return {
        **document,
        "SignatureVersion": version,
        "Signature": base64.b64encode(signature).decode(),
        "SigningCertURL": f"https://sns.{region}.amazonaws.com/{CERTIFICATE}",
    }


def notification(topic: str, message_id: str, event: Mapping[str, Any], at: datetime) -> Document:
    """An SNS post that brings an event of SES, unsigned."""
    return {
        "Type": "Notification",
        "MessageId": message_id,
        "TopicArn": topic,
        "Subject": "Amazon SES Email Event Notification",
        "Message": json.dumps(event),
        "Timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
    }


@cache
def _key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


@cache
def signing_certificate() -> bytes:
    """The certificate of the key that signs posts, as PEM; it is in force for decades, whatever a test's clock says."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=_key().public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=begin + timedelta(days=365 * 80),
    )
    return builder.sign(_key(), SHA256()).public_bytes(Encoding.PEM)


def _authorise(state: StandInState, request: web.Request, body: bytes, service: str) -> web.Response | None:
    found = _CREDENTIAL.fullmatch(request.headers.get("Authorization", ""))
    if found is None or found[3] != service:
        return _error(HTTPStatus.FORBIDDEN, "MissingAuthenticationToken", "The request is not signed.")
    secret = state.held.get(f"secret:{found[1]}")
    if secret is None:
        return (
            None if not state.keys else _error(HTTPStatus.FORBIDDEN, "InvalidClientTokenId", "Unknown key.")
        )
    at = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    own = {"host", "x-amz-date", "x-amz-content-sha256"}
    headers = {name: request.headers[name] for name in found[4].split(";") if name not in own}
    expected = sign_request(
        AwsKey(found[1], secret),
        AwsScope(found[2], service),
        request.method,
        f"http://{request.host}{request.raw_path}",
        at=at,
        headers=headers,
        body=body,
    )
    if expected["Authorization"] != request.headers["Authorization"]:
        return _error(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", "The signature does not match.")
    return None


def _complaint(body: bytes) -> str | None:
    """What is wrong with a SendEmail (SESv2 API reference), None where nothing is."""
    try:
        document = json.loads(body)
        raw = base64.b64decode(document["Content"]["Raw"]["Data"], validate=True)
        tags = document["EmailTags"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        return "The body is not of the documented form."
    if b"\r\n\r\n" not in raw or b"From:" not in raw:
        return "The raw mail has no header."
    if not document["Destination"]["ToAddresses"]:
        return "Missing recipient address."
    if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,256}", tag["Name"]) for tag in tags):
        return "The name of a tag is not allowed."
    return None


def _error(status: HTTPStatus, code: str, words: str) -> web.Response:
    return web.json_response(
        {"message": words}, status=status, headers={"x-amzn-errortype": f"{code}:http://ses/"}
    )
