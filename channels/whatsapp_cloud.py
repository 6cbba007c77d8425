"""The WhatsApp channel over Meta's own Cloud API; it only ties its parts together.

Meta has neither an idempotency key nor a way to ask what was sent. What proves a send of unknown outcome is its first
status: it carries our message's id (``biz_opaque_callback_data``) and comes within seconds. So this adapter is no
SentLookup: who sends waits for that status before a second try.
"""

import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp

from channels.abilities import Downloads, MediaContent
from channels.base import (
    Acknowledgement,
    Attachment,
    Channel,
    ChannelAccount,
    InboundItem,
    InboundRequest,
    OutboundMessage,
    OwnFault,
    SendReceipt,
)
from channels.errors import ContentRefused, OutcomeUnknown, ProviderUnavailable, VerificationFailed
from channels.forms import form_pairs, query_of
from channels.json_posts import objects_of, text_of
from channels.provider_api import TIMEOUT, ApiAnswer, ProviderApi
from channels.signatures_meta import verify_meta
from channels.splitting import split_text
from channels.whatsapp_cloud_content import MEDIA_ID, MEDIA_SCHEME
from channels.whatsapp_cloud_credentials import secret_values, secrets_in_force, valid_credentials
from channels.whatsapp_cloud_errors import error_of_answer
from channels.whatsapp_cloud_events import MESSAGE_ID, only_of, parse_post
from channels.whatsapp_cloud_requests import send_body, takes_buttons, typing_body, upload_form

META_GRAPH = "https://graph.facebook.com"
VERSION = "v25.0"
JSON_TYPE = "application/json"
LONGEST_CAPTION = 1024  # docs, "Image messages"
LONGEST_BODY = 4096  # docs, "Text messages"


class WhatsAppCloudAdapter:
    """A ChannelAdapter, Challenge, SharedHook, TextParts, MediaSource and ShowsTyping over the Cloud API.

    ``api_url`` is the operator's base URL of the Graph API (a sandbox may stand in). A given session stays the giver's.
    """

    name = "whatsapp_cloud"
    channels = frozenset({Channel.WHATSAPP})
    body_cap = 3 * 1024 * 1024  # Docs, "Webhooks overview": payloads may be up to 3 MB
    refusal_status = HTTPStatus.FORBIDDEN
    # Docs, "Webhooks overview": what is not answered 200 is posted again, for up to seven days
    own_fault = OwnFault.RETRIED

    def __init__(
        self,
        api_url: str = META_GRAPH,
        session: aiohttp.ClientSession | None = None,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._graph = f"{api_url.rstrip('/')}/{VERSION}"
        self._api = ProviderApi(session, timeout)

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """`phone_number_id` and `waba_id` (digits), `app_secret` (signs the posts), `access_token` (of a system user),
        `verify_token` (of your choice; Meta asks with it before it posts); where wanted `app_secrets_previous` (a list,
        still accepted while the secret is rotated).
        """
        return valid_credentials(credentials)

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The secrets and tokens that may never be shown."""
        return secret_values(credentials)

    def route_of(self, credentials: Mapping[str, Any]) -> str:
        """The number's id, as every change of a post names it."""
        return str(credentials["phone_number_id"])

    def only(self, request: InboundRequest, route: str) -> InboundRequest:
        """The request with the changes of one number alone."""
        return only_of(request, route)

    def answer_challenge(self, account: ChannelAccount, request: InboundRequest) -> Acknowledgement:
        """Docs, "Create a webhook endpoint": the challenge as it came, as plain text so that no browser runs it.
        Raises VerificationFailed.
        """
        asked = dict(reversed(form_pairs(query_of(request.url))))  # the first of a name counts
        token = account.credentials["verify_token"].encode()
        right = hmac.compare_digest(token, asked.get(b"hub.verify_token", b""))
        challenge = asked.get(b"hub.challenge")
        if not right or asked.get(b"hub.mode") != b"subscribe" or not challenge:
            raise VerificationFailed
        return Acknowledgement(status=HTTPStatus.OK, content_type="text/plain", body=challenge)

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless one of the account's app secrets signed the body."""
        verify_meta(request, secrets_in_force(account.credentials))

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """Everything in a verified post, each with its ``route``; raises MalformedPayload."""
        return parse_post(account, request)

    def acknowledge(self) -> Acknowledgement:
        return Acknowledgement(status=HTTPStatus.OK, content_type="text/plain", body=b"")

    def split_text(self, channel: Channel, text: str) -> tuple[str, ...]:  # noqa: ARG002 - it has one channel
        """The text in parts of at most 4096 characters."""
        return split_text(text, LONGEST_BODY)

    def files_at_once(self, channel: Channel) -> int:  # noqa: ARG002 - it has one channel
        """How many files one message takes."""
        return 1

    def longest_caption(self, channel: Channel) -> int:  # noqa: ARG002 - it has one channel
        """How much text may be with a file."""
        return LONGEST_CAPTION

    def takes_buttons(self, message: OutboundMessage) -> bool:
        """Docs, "Interactive reply buttons messages": three under a text of 1,024 characters."""
        return takes_buttons(message)

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one message to Meta, once; a file given as ``content`` is uploaded before. Raises Throttled,
        ProviderUnavailable (not taken), OutcomeUnknown (perhaps taken: its status will tell), Permanent or PolicyError.
        """
        media_id = None
        for attachment in message.attachments[:1]:
            if attachment.content is not None:
                media_id = await self._upload(account, attachment, attachment.content)
        body = send_body(message, media_id)
        answer = await self._post(account, "messages", body)
        if not answer.ok:
            raise error_of_answer(answer, creates=True)
        for sent in objects_of(answer.document(), "messages"):
            if MESSAGE_ID.fullmatch(text_of(sent, "id")):
                return SendReceipt(text_of(sent, "id"), text_of(sent, "message_status"))
        raise OutcomeUnknown

    async def show_typing(self, account: ChannelAccount, recipient: str, provider_message_id: str) -> None:  # noqa: ARG002 - Meta knows whose message it is
        """Marks the customer's message as read and shows the indicator; raises Temporary or Permanent."""
        answer = await self._post(account, "messages", typing_body(provider_message_id))
        if not answer.ok:
            raise error_of_answer(answer, creates=False)

    async def fetch_media(self, account: ChannelAccount, url: str, downloads: Downloads) -> MediaContent:
        """The file ``media:ID``: its URL, which holds for five minutes, then the file itself; both need the token (docs:
        "Media", download). Raises Temporary, Permanent or PolicyError.
        """
        media_id = url.removeprefix(MEDIA_SCHEME)
        if url == media_id or not MEDIA_ID.fullmatch(media_id):
            raise ContentRefused("The file has no id.")
        authorisation = _authorisation(account)
        answer = await self._api.exchange("GET", f"{self._graph}/{media_id}", headers=authorisation)
        if not answer.ok:
            raise error_of_answer(answer, creates=False)
        found = answer.document()
        if not text_of(found, "url"):
            raise ProviderUnavailable
        file = await downloads.get(text_of(found, "url"), authorisation)
        return MediaContent(file.content, text_of(found, "mime_type") or file.content_type, file.filename)

    async def aclose(self) -> None:
        """Closes the session that this adapter made for itself."""
        await self._api.aclose()

    async def _post(self, account: ChannelAccount, edge: str, body: bytes | aiohttp.FormData) -> ApiAnswer:
        form = {"Content-Type": JSON_TYPE} if isinstance(body, bytes) else {}
        url = f"{self._graph}/{account.credentials['phone_number_id']}/{edge}"
        return await self._api.exchange("POST", url, headers={**_authorisation(account), **form}, body=body)

    async def _upload(self, account: ChannelAccount, attachment: Attachment, content: bytes) -> str:
        """The id of an uploaded file. A file that was taken without our knowing reaches nobody, so its outcome is never
        unknown: it is uploaded again.
        """
        try:
            answer = await self._post(account, "media", upload_form(attachment, content))
        except OutcomeUnknown:
            raise ProviderUnavailable from None
        if not answer.ok:
            raise error_of_answer(answer, creates=False)
        media_id = text_of(answer.document(), "id")
        if not MEDIA_ID.fullmatch(media_id):
            raise ProviderUnavailable
        return media_id


def _authorisation(account: ChannelAccount) -> dict[str, str]:
    return {"Authorization": f"Bearer {account.credentials['access_token']}"}
