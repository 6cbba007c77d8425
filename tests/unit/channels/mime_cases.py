"""What the tests of mails share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from channels.base import Channel, ChannelAccount
from channels.mail import Mail
from channels.mime import read_mail

FIXTURES = Path(__file__).parents[2] / "fixtures" / "channels" / "mime"
ADDRESS = "pedidos@dist.example.com"
TOKEN = "0123456789abcdef0123456789abcdef"
OUR_UUID = UUID("6f1b6c1d-5f0a-4c7e-9d3b-2a1908f7e6d5")
OUR_ID = f"{TOKEN}.{OUR_UUID.hex}@dist.example.com"
SECRET = "hook-secret-0001"
SMTP = {
    "host": "mail.example.test",
    "port": 2525,
    "username": "pedidos",
    "password": "smtp-password-1",
    "tls": "none",
}
CREDENTIALS: Mapping[str, Any] = {"hmac_secret": SECRET, "smtp": SMTP}


def fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.eml").read_bytes()


def mail_of(name: str) -> Mail:
    return read_mail(fixture(name))


def account(credentials: Mapping[str, Any] = CREDENTIALS, **settings: Any) -> ChannelAccount:
    return ChannelAccount(UUID(int=1), UUID(int=2), Channel.EMAIL, "mime", ADDRESS, credentials, settings)


def names(prefix: str) -> list[str]:
    return sorted(path.stem for path in FIXTURES.glob(f"{prefix}__*.eml"))
