"""E-mail through Resend: its signed hook, received mails fetched after it, and its API for sending."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import aiohttp

from channels.abilities import Downloads, HeldPost, MediaContent
from channels.base import (
    Acknowledgement,
    Channel,
    ChannelAccount,
    InboundItem,
    InboundRequest,
    OutboundMessage,
    OwnFault,
    SendReceipt,
)
from channels.credentials import check_names, list_of, matching
from channels.email_resend_events import (
    EMAIL_ID,
    FetchedFile,
    Post,
    email_id_of,
    fetched_post,
    mail_of_fetched,
    parse_post,
    post_of,
    received_post,
)
from channels.email_resend_requests import authorisation, email_document, error_of
from channels.errors import (
    BadCredentials,
    ContentRefused,
    MalformedPayload,
    NotThere,
    OutcomeUnknown,
    ProviderUnavailable,
    TooLarge,
)
from channels.iso_times import utc_now, utc_time
from channels.json_posts import object_of, objects_of, text_of
from channels.mail_parts import mail_part
from channels.provider_api import TIMEOUT, ProviderApi
from channels.signatures_svix import SVIX_SECRET, is_svix_secret, verify_svix

RESEND_API = "https://api.resend.com"
FIELDS = frozenset({"api_key", "signing_secret", "signing_secrets_previous"})
PAGE = 100
JSON_TYPE = {"Content-Type": "application/json"}
IDEMPOTENCY = timedelta(hours=24)  # docs, "Idempotency keys"


class ResendAdapter:
    """A ChannelAdapter, Deferring, MediaInPost, IdempotentSends and Reconcilable over Resend. ``api_url`` is the
    operator's base URL; a given ``session`` stays the giver's; ``clock`` tells whether a signature is fresh.
    """

    name = "resend"
    channels = frozenset({Channel.EMAIL})
    # Bytes: an event names addresses and files, and holds neither text nor content
    body_cap = 1024 * 1024
    refusal_status = HTTPStatus.FORBIDDEN
    own_fault = OwnFault.RETRIED  # Eight tries over more than a day (Svix's schedule)

    def __init__(
        self,
        api_url: str = RESEND_API,
        session: aiohttp.ClientSession | None = None,
        clock: Callable[[], datetime] = utc_now,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._api = ProviderApi(session, timeout)
        self._clock = clock

    @property
    def repeatable_for(self) -> timedelta:
        return IDEMPOTENCY

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """`api_key` (with full access, since received mails are fetched), `signing_secret` (whsec_…) of the hook; where
        wanted `signing_secrets_previous` (a list, still accepted while it is rotated).
        """
        check_names(credentials, FIELDS)
        secret = matching(credentials, "signing_secret", SVIX_SECRET)
        previous = list_of(credentials, "signing_secrets_previous", SVIX_SECRET)
        if not is_svix_secret(secret):
            raise ValueError("signing_secret: not base64 after whsec_")
        if not all(map(is_svix_secret, previous)):
            raise ValueError("signing_secrets_previous: not base64 after whsec_")
        return {
            "api_key": matching(credentials, "api_key"),
            "signing_secret": secret,
            "signing_secrets_previous": previous,
        }

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The API key and the signing secrets, these without their prefix, too."""
        secrets = _secrets(credentials)
        bare = (secret.removeprefix("whsec_") for secret in secrets)
        return frozenset((credentials["api_key"], *secrets, *bare))

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless a secret of the account signed the request within five minutes."""
        verify_svix(request, _secrets(account.credentials), self._clock())

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """The events of a verified request, or the mail of a fetched one; raises MalformedPayload."""
        return parse_post(account, post_of(request.body))

    def read_part(
        self,
        account: ChannelAccount,  # noqa: ARG002 - the post is all that is needed
        request: InboundRequest,
        url: str,
    ) -> MediaContent:
        """A file of a fetched mail; raises MalformedPayload where it has none of that name."""
        return mail_part(mail_of_fetched(post_of(request.body)), url)

    def acknowledge(self) -> Acknowledgement:
        return Acknowledgement(HTTPStatus.OK, "text/plain", b"")

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one mail to Resend, under our id as the idempotency key: a repeat gives the first one's receipt (see
        ``channels.base.IdempotentSends``). Raises Throttled, ProviderUnavailable (not taken), OutcomeUnknown,
        Permanent or PolicyError.
        """
        headers = authorisation(account) | JSON_TYPE | {"Idempotency-Key": str(message.id)}
        body = email_document(account, message)
        answer = await self._api.exchange("POST", f"{self._api_url}/emails", headers=headers, body=body)
        if not answer.ok:
            raise error_of(answer, creates=True)
        identifier = text_of(answer.document(), "id")
        if not EMAIL_ID.fullmatch(identifier):
            raise OutcomeUnknown
        return SendReceipt(identifier)

    async def fetch_deferred(
        self, account: ChannelAccount, request: InboundRequest, downloads: Downloads
    ) -> tuple[InboundRequest, tuple[InboundItem, ...]]:
        """The mail that an ``email.received`` tells of; see ``channels.base.Deferring``.

        Its MIME is taken where Resend has it. Else, or where that is too large, the texts and what files can be had; and
        of a mail that is too large altogether what the hint says: who wrote, and the subject.
        """
        hint = object_of(post_of(request.body), "data")
        email = await self._email(account, hint, downloads)
        raw = await _content(text_of(object_of(email, "raw"), "download_url"), downloads)
        files = () if raw is not None else await self._files(account, email, downloads)
        body = fetched_post(hint, email, raw.content if raw is not None else None, files)
        fetched = replace(request, headers=JSON_TYPE, body=body)
        try:
            return fetched, self.parse(account, fetched)
        except MalformedPayload as error:
            raise ContentRefused(str(error)) from None

    async def list_held(
        self,
        account: ChannelAccount,
        since: datetime,
        downloads: Downloads,  # noqa: ARG002 - each mail is fetched as after its hint
    ) -> AsyncIterator[HeldPost]:
        """The mails that Resend received for the account, each as the hint that the hook posts; see
        ``channels.base.Reconcilable``. Resend lists the newest first, so that all is listed before the first is given.
        """
        listed = [one async for one in self._list(account, since)]
        for one in reversed(listed):
            url = f"{self._api_url}/emails/receiving/{one['id']}"
            request = InboundRequest("POST", url, JSON_TYPE, received_post(one))
            yield HeldPost(request, self.parse(account, request), utc_time(text_of(one, "created_at")))

    async def aclose(self) -> None:
        """Closes the session that this adapter made for itself."""
        await self._api.aclose()

    async def _list(self, account: ChannelAccount, since: datetime) -> AsyncIterator[Post]:
        params = {"limit": str(PAGE)}
        while True:
            page = await self._page(account, params)
            listed = objects_of(page, "data")
            for one in listed:
                received = utc_time(text_of(one, "created_at"))
                if received is not None and received < since:
                    return
                if EMAIL_ID.fullmatch(text_of(one, "id")):
                    yield one
            last = text_of(listed[-1], "id") if listed else ""
            if page.get("has_more") is not True or last in {"", params.get("after")}:
                return
            params["after"] = last

    async def _page(self, account: ChannelAccount, params: Mapping[str, str]) -> Post:
        url = f"{self._api_url}/emails/receiving"
        answer = await self._api.exchange("GET", url, headers=authorisation(account), params=params)
        if not answer.ok:
            raise error_of(answer, creates=False)
        document = answer.document()
        if not document:
            raise ProviderUnavailable
        return document

    async def _email(self, account: ChannelAccount, hint: Post, downloads: Downloads) -> Post:
        url = f"{self._api_url}/emails/receiving/{email_id_of(hint)}?html_format=cid"
        try:
            return _answered((await downloads.get(url, authorisation(account))).content)
        except TooLarge:
            return {}

    async def _files(
        self, account: ChannelAccount, email: Post, downloads: Downloads
    ) -> tuple[FetchedFile, ...]:
        if not objects_of(email, "attachments"):
            return ()
        url = f"{self._api_url}/emails/receiving/{text_of(email, 'id')}/attachments?limit={PAGE}"
        listed = _answered((await downloads.get(url, authorisation(account))).content)
        return tuple(
            [
                FetchedFile(one, await _content(text_of(one, "download_url"), downloads))
                for one in objects_of(listed, "data")
            ]
        )


async def _content(url: str, downloads: Downloads) -> MediaContent | None:
    """What is at a signed address, which needs no key of ours (and is refused with 403 once it has expired); None where it
    is not to be had. A mail without one of its files is better than none.
    """
    if not url:
        return None
    try:
        return await downloads.get(url)
    except (NotThere, TooLarge, BadCredentials, ContentRefused):
        return None


def _answered(body: bytes) -> Post:
    try:
        return post_of(body)
    except MalformedPayload:
        raise ProviderUnavailable from None


def _secrets(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    return (credentials["signing_secret"], *(credentials.get("signing_secrets_previous") or ()))
