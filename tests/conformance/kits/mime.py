"""The generic mail's part of the conformance suite: whoever receives mails posts them, a mail server sends ours."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_network
from uuid import UUID

from channels.base import Channel
from channels.email_mime import MimeAdapter
from channels.signatures_mime import MIME_SIGNATURE, mime_signature
from channels.smtp import SmtpClient, SmtpServer, SmtpStep, SmtpTimeouts
from handlers.runtime import utc_now
from tests.conformance.kit import CUSTOMER_MAILBOX, ChannelKit, Credentials, Post, ProviderSide, SendFault
from tests.smtp_stand_in import SmtpFault, SmtpState, running_smtp
from tests.unit.channels.mime_cases import ADDRESS, OUR_ID, OUR_UUID, SECRET, fixture

TYPE = {"Content-Type": "message/rfc822"}
SMTP = {
    "host": "127.0.0.1",
    "port": 2525,
    "tls": "none",
    "username": "pedidos",
    "password": "smtp-password-1",
}
CREDENTIALS = {"hmac_secret": SECRET, "smtp": SMTP}
LOOPBACK = (ip_network("127.0.0.0/8"),)
FAULTS: Mapping[SendFault, SmtpFault] = {
    SendFault.THROTTLED: SmtpFault(SmtpStep.RECIPIENT, "450 4.7.1 Slow down"),
    SendFault.SERVER_ERROR: SmtpFault(SmtpStep.RECIPIENT, "454 4.3.0 Something broke"),
    SendFault.HANG: SmtpFault(SmtpStep.CONTENT, hangs=True),
}


class _FreePort(SmtpClient):
    """Whatever port an account names, the stand-in's is dialled."""

    def __init__(self, port: int) -> None:
        super().__init__(LOOPBACK, timeouts=SmtpTimeouts(answer=0.25))
        self._port = port

    async def submit(
        self, server: SmtpServer, sender: str, recipient: str, mail: bytes, *, party: str
    ) -> None:
        await super().submit(replace(server, port=self._port), sender, recipient, mail, party=party)


@asynccontextmanager
async def _side(_kit: ChannelKit) -> AsyncIterator[ProviderSide]:
    state = SmtpState(users={"pedidos": "smtp-password-1"})
    async with running_smtp(state) as port:
        adapter = MimeAdapter(_FreePort(port), utc_now)
        yield ProviderSide(
            {"mime": adapter}, lambda fault: state.faults.append(FAULTS[fault]), lambda: len(state.taken)
        )
        await adapter.aclose()


def _sign(post: Post, credentials: Credentials, _url: str, now: datetime) -> Post:
    signature = mime_signature(credentials["hmac_secret"], post.body, now)
    return replace(post, headers={**post.headers, MIME_SIGNATURE: signature})


def _message(word: str, text: str) -> Post:
    head = f"From: Ana Ruiz <ana.ruiz@tienda.example.com>\nTo: {ADDRESS}\nSubject: Pedido\nMessage-ID: <{word}@tienda.example.com>\n"
    return Post(f"{head}Content-Type: text/plain; charset=utf-8\n\n{text}\n".encode(), TYPE)


def _status(_message_id: UUID, provider_id: str, word: str) -> Post:
    """A notice about the mail of that Message-ID, which went to the suite's customer."""
    body = fixture("bounce__delivered").replace(OUR_ID.encode(), provider_id.encode())
    body = body.replace(b"nadie@tienda.example.com", CUSTOMER_MAILBOX.encode())
    return Post(body.replace(b"Action: delivered", f"Action: {word}".encode()), TYPE)


KIT = ChannelKit(
    provider="mime",
    channel=Channel.EMAIL,
    address=ADDRESS,
    credentials=CREDENTIALS,
    other={"hmac_secret": "hook-secret-of-another"},
    sign=_sign,
    message=_message,
    status=_status,
    delivered="delivered",
    knows_mails_by_our_id=True,
    unknown_event=_status(OUR_UUID, OUR_ID, "expanded"),
    malformed=(
        Post(b"", TYPE),
        Post(b"\x00\xff", TYPE),
        Post(b"Subject: no sender\n\nHola", TYPE),
        Post(fixture("reply__gmail_es"), {"Content-Type": "text/plain"}),
    ),
    with_unknown_field=lambda post: replace(post, body=b"X-Field-To-Come: a=1\n" + post.body),
    rotated={"hmac_secret": "hook-secret-0002", "hmac_secrets_previous": [SECRET], "smtp": SMTP},
    secrets=frozenset({SECRET, "hook-secret-of-another", "smtp-password-1"}),
    side=_side,
    hooks="Whatever takes the mails posts each to `inbound_url` as `message/rfc822`, byte for byte; failure notices too. It signs"
    " with the header `X-Waystation-Signature: t=SECONDS,v1=HEX`: `SECONDS` is the Unix time, at most five minutes off, `HEX` the"
    " HMAC-SHA256 with `hmac_secret` over `SECONDS`, a full stop and the body, in lower-case hexadecimal. In a shell, of a mail in"
    " `mail.eml`: `t=$(date +%s); v1=$({ printf '%s.' $t; cat mail.eml; } | openssl dgst -sha256 -hmac $SECRET -r | cut -c1-64);"
    " curl --data-binary @mail.eml -H 'Content-Type: message/rfc822' -H \"X-Waystation-Signature: t=$t,v1=$v1\" $INBOUND_URL`.",
    limits="35 MiB a post, 20 levels of parts, 200 parts; a mail server on a private network, or one without TLS, only by"
    " `WAYSTATION_EGRESS_ALLOW`.",
    gaps="One connection a mail; no OAuth login; addresses with other than ASCII signs are not written to. Mails that say a"
    " machine wrote them (a mailing list's, an ordering system's) are stored for a person and not answered.",
)
