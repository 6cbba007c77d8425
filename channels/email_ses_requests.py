"""What is asked of AWS: a mail to be sent (SESv2), an object of S3 to be read; and what its refusals mean.

Source: Amazon SES API v2, "SendEmail" and "Common Errors"; Amazon S3, "GetObject".
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from channels.base import ChannelAccount, OutboundMessage
from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    MalformedPayload,
    ProviderUnavailable,
    Throttled,
)
from channels.json_posts import object_of, text_of
from channels.mail_events import OUR_ID
from channels.mail_writing import build_mime, sender_field
from channels.provider_api import ApiAnswer, error_of_status
from channels.sigv4 import S3, AwsKey, AwsScope, sign_request

SEND_PATH = "/v2/email/outbound-emails"
ERROR_TYPE = "x-amzn-errortype"
KINDS: Mapping[str, type[GatewayError]] = {
    "TooManyRequestsException": Throttled,
    "ThrottlingException": Throttled,
    "LimitExceededException": Throttled,
    "SendingPausedException": Throttled,
    "AccountSuspendedException": BadCredentials,
    "MailFromDomainNotVerifiedException": BadCredentials,
    "NotFoundException": BadCredentials,  # the configuration set, or the identity
    "AccessDeniedException": BadCredentials,
    "UnrecognizedClientException": BadCredentials,
    "InvalidClientTokenId": BadCredentials,
    "InvalidSignatureException": BadCredentials,
    "SignatureDoesNotMatch": BadCredentials,
    "IncompleteSignature": BadCredentials,
    "MissingAuthenticationToken": BadCredentials,
    "OptInRequired": BadCredentials,
    "MessageRejected": ContentRefused,
    "BadRequestException": ContentRefused,
    "InternalFailure": ProviderUnavailable,
    "ServiceUnavailable": ProviderUnavailable,
}
# Words of a MessageRejected or BadRequestException that are about more than this mail's content.
_NOT_VERIFIED = re.compile(r"not verified|identit", re.IGNORECASE)
_RECIPIENT = re.compile(
    r"(?:illegal|invalid|missing).{0,40}(?:address|domain|recipient|local)", re.IGNORECASE
)
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
KEY_LIMIT = 1024
_US_EAST = "us-east-1"


def aws_key(credentials: Mapping[str, Any]) -> AwsKey:
    return AwsKey(credentials["access_key_id"], credentials["secret_access_key"])


def send_request(
    account: ChannelAccount, message: OutboundMessage, api_url: str | None, at: datetime
) -> tuple[str, dict[str, str], bytes]:
    """URL, signed headers and body of a SendEmail; raises InvalidRecipient or ContentRefused."""
    region = account.credentials["region"]
    url = (api_url or f"https://email.{region}.amazonaws.com") + SEND_PATH
    document = {
        "FromEmailAddress": sender_field(account),
        "Destination": {"ToAddresses": [message.recipient]},
        "Content": {"Raw": {"Data": base64.b64encode(build_mime(account, message, at=at)).decode()}},
        "EmailTags": [{"Name": OUR_ID, "Value": str(message.id)}],
        **_configuration(account),
    }
    body = json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    scope = AwsScope(region, "ses")
    return (
        url,
        sign_request(aws_key(account.credentials), scope, "POST", url, at=at, headers=headers, body=body),
        body,
    )


def object_request(
    account: ChannelAccount, event: Mapping[str, Any], api_url: str | None, at: datetime
) -> tuple[str, dict[str, str]]:
    """URL and signed headers by which S3 gives the mail that SES put there; raises MalformedPayload."""
    action = object_of(object_of(event, "receipt"), "action")
    bucket, key = text_of(action, "bucketName"), text_of(action, "objectKey")
    if not BUCKET.fullmatch(bucket) or not 0 < len(key) <= KEY_LIMIT:
        raise MalformedPayload("The S3 action names no object.")
    region = account.credentials["region"]
    path = f"/{bucket}/{quote(key, safe='/-_.~')}"
    url = (f"{api_url}/s3" if api_url else f"https://s3.{region}.amazonaws.com") + path
    return url, sign_request(aws_key(account.credentials), AwsScope(region, S3), "GET", url, at=at)


def mail_message_id(identifier: str, region: str) -> str:
    """The Message-ID that SES writes in the place of ours (docs, "messageId" of an event's mail object)."""
    host = "email" if region == _US_EAST else region
    return f"{identifier}@{host}.amazonses.com"


def send_error(answer: ApiAnswer) -> GatewayError:
    """The error that a refusal means. Nothing of SES's own words is kept: they quote addresses."""
    code = answer.headers.get(ERROR_TYPE, "").partition(":")[0] or text_of(answer.document(), "__type")
    code = code.rpartition("#")[2][:64]
    words = text_of(answer.document(), "message") or text_of(answer.document(), "Message")
    if issubclass(KINDS.get(code, GatewayError), ContentRefused):
        if _NOT_VERIFIED.search(words):
            return BadCredentials(provider_code=code)
        if _RECIPIENT.search(words):
            return InvalidRecipient(provider_code=code)
    return error_of_status(answer, code or None, kinds=KINDS)


def _configuration(account: ChannelAccount) -> dict[str, str]:
    name = account.credentials.get("configuration_set")
    return {"ConfigurationSetName": name} if name else {}
