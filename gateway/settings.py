"""Every setting, read once from the environment and `.env`; an unknown WAYSTATION_ name or a bad value is an
error.
"""

import io
import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from channels.base import Channel
from channels.provider_urls import ProviderUrls
from db.connecting import check_dsn
from db.sealing import decode_master_key
from gateway.s3_media import read_bucket
from handlers.runtime import RetrySchedule

PREFIX = "WAYSTATION_"
_FILE_SUFFIX = "_FILE"
_UNPREFIXED = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
# Standard Webhooks' example schedule: eleven tries within 75 hours.
_DEFAULT_WAITS = (0.0, 5.0, 30.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
_DEFAULT_QUIET_SECONDS = {Channel.WHATSAPP: 4.0, Channel.SMS: 2.0, Channel.EMAIL: 0.0}

_LONGEST_WAIT = 30 * 86_400.0  # seconds between two tries of a webhook
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}")
_PYDANTICS_OWN_WORDS = "Value error, "
_PREDICATES = ("is ", "must ", "has ")  # how a message begins that reads on from the setting's name


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be used; the message names it, never a secret's
    value.
    """


class EngineName(StrEnum):
    RULES = "rules"
    OPENAI = "openai"
    HYBRID = "hybrid"


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class Settings(BaseModel):
    """The settings of `contract.md`, typed. Times are seconds; secrets do not print."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    database_url: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str | None = None
    master_keys: tuple[SecretStr, ...] = ()
    ai_engine: EngineName = EngineName.RULES
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = None
    openai_model: str = "gpt-5-mini"
    egress_allow: tuple[IPv4Network | IPv6Network, ...] = ()
    twilio_api_url: str = "https://api.twilio.com"
    meta_graph_url: str = "https://graph.facebook.com"
    sendgrid_api_url: str = "https://api.sendgrid.com"
    mailgun_api_url: str | None = None  # one per region: the account's decides
    postmark_api_url: str = "https://api.postmarkapp.com"
    resend_api_url: str = "https://api.resend.com"
    ses_api_url: str | None = None  # one per region
    media_url: str | None = None
    media_access_key_id: str | None = None
    media_secret_access_key: SecretStr | None = None
    clamd: str | None = None
    debounce_seconds: float | None = Field(default=None, ge=0, le=300)
    retry_schedule: tuple[Annotated[float, Field(ge=0, le=_LONGEST_WAIT)], ...] = Field(
        default=_DEFAULT_WAITS, min_length=1
    )
    api_key: SecretStr | None = None  # of a tenant, for commands that use the API
    log_format: LogFormat = LogFormat.CONSOLE

    @field_validator("master_keys", "retry_schedule", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        return _pieces(value) if isinstance(value, str) else value

    @field_validator("egress_allow", mode="before")
    @classmethod
    def _read_networks(cls, value: Any) -> Any:
        return (
            tuple(ip_network(piece, strict=False) for piece in _pieces(value))
            if isinstance(value, str)
            else value
        )

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_dsn(value.get_secret_value())
        return value

    @field_validator("master_keys")
    @classmethod
    def _check_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            decode_master_key(key.get_secret_value())
        if not value:
            raise ValueError("must hold at least one key")
        return value

    @field_validator(
        "public_url",
        "twilio_api_url",
        "meta_graph_url",
        "sendgrid_api_url",
        "mailgun_api_url",
        "postmark_api_url",
        "resend_api_url",
        "ses_api_url",
        "openai_base_url",
    )
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must begin with http:// or https:// and name a host")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("must have no user, no query and no fragment")
        return value.rstrip("/")

    @field_validator("media_url")
    @classmethod
    def _check_bucket(cls, value: str | None) -> str | None:
        if value is not None:
            read_bucket(value)
        return value

    @field_validator("clamd")
    @classmethod
    def _check_clamd(cls, value: str | None) -> str | None:
        if value is not None and not _HOST_AND_PORT.fullmatch(value):
            raise ValueError("must be host:port")
        return value

    # The last of the validators "before" is the first to run.
    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty(cls, value: Any) -> Any:
        # A variable that a template left empty: for a host it would mean every interface, for a DSN another database.
        if isinstance(value, str) and not value.strip():
            raise ValueError("is empty; give it a value, or remove it for its default")
        return value

    @property
    def base_url(self) -> str:
        """What providers sign: the configured public URL, else where this process listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def opened_master_keys(self) -> tuple[bytes, ...]:
        return tuple(decode_master_key(key.get_secret_value()) for key in self.master_keys)

    @property
    def webhook_schedule(self) -> RetrySchedule:
        return RetrySchedule(self.retry_schedule)

    @property
    def provider_urls(self) -> ProviderUrls:
        return ProviderUrls(
            twilio=self.twilio_api_url,
            meta_graph=self.meta_graph_url,
            sendgrid=self.sendgrid_api_url,
            mailgun=self.mailgun_api_url,
            postmark=self.postmark_api_url,
            resend=self.resend_api_url,
            ses=self.ses_api_url,
        )

    def quiet_seconds(self, channel: Channel) -> float:
        """How long a conversation must be quiet before its burst is taken as complete."""
        return _DEFAULT_QUIET_SECONDS[channel] if self.debounce_seconds is None else self.debounce_seconds


def _pieces(text: str) -> tuple[str, ...]:
    return tuple(piece.strip() for piece in text.split(",") if piece.strip())


def read_settings(
    environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env"), **overrides: Any
) -> Settings:
    """The settings of this process: `.env`, over it the environment, over it ``overrides``; raises
    SettingsError.
    """
    values = {**_file_values(env_file), **(os.environ if environ is None else environ)}
    given = {
        name: value
        for name, value in values.items()
        if name.startswith(PREFIX) or _plain_name(name) in _UNPREFIXED
    }
    fields = {_field_name(name): value for name, value in _with_secret_files(given).items()}
    try:
        return Settings(**{**fields, **overrides})
    except ValidationError as error:
        raise SettingsError("; ".join(_describe(problem) for problem in error.errors())) from None


def _file_values(env_file: Path | None) -> dict[str, str]:
    """What the file sets, if there is one; raises SettingsError where it cannot be read."""
    if env_file is None:
        return {}
    try:
        text = env_file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{env_file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{env_file} cannot be read: it is not UTF-8") from None
    values = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in values.items() if value is not None}


def _plain_name(name: str) -> str:
    return name.removesuffix(_FILE_SUFFIX)


def _field_name(name: str) -> str:
    return name.removeprefix(PREFIX).lower()


def _with_secret_files(values: Mapping[str, str]) -> dict[str, str]:
    """Every ``NAME_FILE`` replaced by ``NAME`` with the file's content; raises SettingsError for a file that
    is not readable.
    """
    result = {name: value for name, value in values.items() if not name.endswith(_FILE_SUFFIX)}
    for name in values.keys() - result.keys():
        if _plain_name(name) in result:
            raise SettingsError(f"{_plain_name(name)} and {name} are both set; keep one")
        result[_plain_name(name)] = _read_secret(name, values[name])
    return result


def _read_secret(name: str, path: str) -> str:
    if not path.strip():
        raise SettingsError(f"{name} is empty; give it a file's name, or remove it")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name}: {error.strerror}: {path}") from None
    except ValueError:  # another encoding, or a NUL in the name
        raise SettingsError(f"{name} does not name a text file in UTF-8") from None


def _describe(problem: Mapping[str, Any]) -> str:
    location: Iterable[Any] = problem["loc"]
    field = str(next(iter(location), ""))
    plain = field.upper()
    name = plain if plain in _UNPREFIXED else f"{PREFIX}{plain}"
    if problem["type"] == "extra_forbidden":
        return f"{name} is not a setting of Waystation; see the README's table"
    message = problem["msg"].removeprefix(_PYDANTICS_OWN_WORDS)
    return f"{name} {message}" if message.startswith(_PREDICATES) else f"{name}: {message}"
