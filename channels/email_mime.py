"""Mails as MIME: posted to us over HTTP by whoever receives them, and sent through the tenant's SMTP server."""

import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from channels.abilities import MediaContent
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
from channels.credentials import check_names, list_of, matching, optional
from channels.errors import BadCredentials, MalformedPayload
from channels.mail_bounces import items_of_mail
from channels.mail_parts import mail_part
from channels.mail_reading import inbound_mail, mail_key
from channels.mail_writing import build_mime, headers_of
from channels.mime import read_mail
from channels.signatures_mime import verify_mime
from channels.smtp import SmtpClient, SmtpServer, SmtpTls
from channels.targets import SERVICE_PORTS

MAIL_TYPE = "message/rfc822"
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}", re.ASCII)
USERNAME = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
PASSWORD = re.compile(r"[^\x00-\x1f\x7f]{1,512}")
MAIL_PORTS = frozenset({25, 465, 587})
SUBMISSIONS_PORT = 465  # RFC 8314: TLS from the first byte
FIRST_FREE_PORT, LAST_PORT = 1024, 65535
ONLY_RECEIVES = "The account has no SMTP server: it only receives."


class MimeAdapter:
    """A ChannelAdapter and MediaInPost for mails in their own form. ``smtp`` is the adapter's to close."""

    name = "mime"
    channels = frozenset({Channel.EMAIL})
    # Bytes: what mail hosts take at most (25 MB of files), encoded
    body_cap = 35 * 1024 * 1024
    refusal_status = HTTPStatus.FORBIDDEN
    # A mail server that hands mails on keeps what was not taken in its queue
    own_fault = OwnFault.RETRIED

    def __init__(self, smtp: SmtpClient, clock: Callable[[], datetime]) -> None:
        self._smtp = smtp
        self._clock = clock

    def validate_credentials(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """``hmac_secret``, ``hmac_secrets_previous[]`` (still accepted while one is rotated), and ``smtp`` {host, port,
        username?, password?, tls: starttls | tls | none, or true (by the port) | false}; raises ValueError that names the
        field only.
        """
        check_names(credentials, {"hmac_secret", "hmac_secrets_previous", "smtp"})
        smtp = credentials.get("smtp")
        return {
            "hmac_secret": matching(credentials, "hmac_secret"),
            "hmac_secrets_previous": list_of(credentials, "hmac_secrets_previous"),
            **({"smtp": _valid_smtp(smtp)} if smtp is not None else {}),
        }

    def redact(self, credentials: Mapping[str, Any]) -> frozenset[str]:
        """The secrets, and the forms in which the SMTP login travels (RFC 4616, LOGIN)."""
        smtp = credentials.get("smtp") or {}
        return frozenset((*_secrets(credentials), *_login_forms(smtp.get("username"), smtp.get("password"))))

    def verify(self, account: ChannelAccount, request: InboundRequest) -> None:
        """Raises VerificationFailed unless one of the account's secrets signed the body within the last minutes."""
        verify_mime(request, _secrets(account.credentials), self._clock())

    def parse(self, account: ChannelAccount, request: InboundRequest) -> tuple[InboundItem, ...]:
        """The mail, or what a notification says of a mail of ours; raises MalformedPayload."""
        stated = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if stated != MAIL_TYPE:
            raise MalformedPayload(f"The post's type is not {MAIL_TYPE}.")
        mail = read_mail(request.body)
        return items_of_mail(mail, inbound_mail(account, mail, mail_key(mail)))

    def read_part(self, account: ChannelAccount, request: InboundRequest, url: str) -> MediaContent:  # noqa: ARG002 - the port's
        """The file ``part:N`` of a stored post; raises MalformedPayload."""
        return mail_part(read_mail(request.body), url)

    def acknowledge(self) -> Acknowledgement:
        """Nothing to say."""
        return Acknowledgement(status=HTTPStatus.OK, content_type="text/plain", body=b"")

    async def send(self, account: ChannelAccount, message: OutboundMessage) -> SendReceipt:
        """Hands one mail to the account's SMTP server, once; the receipt's id is our Message-ID. Raises what
        ``SmtpClient.submit`` raises; BadCredentials where the account has no server.
        """
        stated = account.credentials.get("smtp")
        if not stated:
            raise BadCredentials(ONLY_RECEIVES)
        mail = build_mime(account, message, at=self._clock())
        await self._smtp.submit(
            _server(stated), account.address, message.recipient, mail, party=str(account.distributor_id)
        )
        return SendReceipt(provider_message_id=headers_of(account, message).message_id)

    async def aclose(self) -> None:
        """Closes what the SMTP client holds."""
        await self._smtp.aclose()


def _secrets(credentials: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that may have signed a post, the newest first."""
    return (credentials["hmac_secret"], *(credentials.get("hmac_secrets_previous") or ()))


def _login_forms(username: str | None, password: str | None) -> tuple[str, ...]:
    if not password:
        return ()
    travelling = (password.encode(), f"\0{username}\0{password}".encode())
    return (password, *(base64.b64encode(text).decode("ascii") for text in travelling))


def _valid_smtp(stated: Any) -> dict[str, Any]:
    if not isinstance(stated, Mapping):
        raise ValueError("smtp: not an object")  # noqa: TRY004 - the port's error for every wrong field
    check_names(stated, {"host", "port", "username", "password", "tls"})
    given = {name: value for name, value in stated.items() if value != ""}
    login = {**optional(given, "username", USERNAME), **optional(given, "password", PASSWORD)}
    if len(login) == 1:
        raise ValueError("smtp: username and password go together")
    port = _valid_port(stated.get("port"))
    return {
        "host": matching(stated, "host", HOST),
        "port": port,
        "tls": _valid_tls(stated.get("tls"), port),
        **login,
    }


def _valid_tls(stated: Any, port: int) -> str:
    if isinstance(stated, bool):
        with_tls = SmtpTls.TLS if port == SUBMISSIONS_PORT else SmtpTls.STARTTLS
        return str(with_tls if stated else SmtpTls.NONE)
    if not isinstance(stated, str) or stated not in set(SmtpTls):
        raise ValueError("tls: starttls, tls or none")
    return stated


def _valid_port(port: Any) -> int:
    if isinstance(port, int) and not isinstance(port, bool):
        is_free = FIRST_FREE_PORT <= port <= LAST_PORT and port not in SERVICE_PORTS
        if port in MAIL_PORTS or is_free:
            return port
    raise ValueError("port: not one of a mail server")


def _server(stated: Mapping[str, Any]) -> SmtpServer:
    return SmtpServer(
        stated["host"], stated["port"], SmtpTls(stated["tls"]), stated.get("username"), stated.get("password")
    )
