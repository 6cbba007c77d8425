"""What `waystation dev` keeps over restarts: its tenant's key and its stand-ins' ports, in a private file."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from channels.errors import GatewayError
from gateway.dev.management import ProviderLogin
from gateway.ports import LOOPBACK, usable_port

_FILE_NAME = "dev.json"
LOCK_NAME = "dev.lock"  # held while `waystation dev` runs


class NotPossibleHere(GatewayError):
    """The command cannot do that in this folder, or not now."""


class DevState(BaseModel):
    """The content of `.waystation/dev.json`. URLs are those of the last start."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    account_sid: str
    auth_token: str = Field(repr=False)
    gateway_url: str
    sandbox_port: int
    receiver_port: int
    stand_ins_port: int = 0  # none yet: the file is of an earlier release
    distributor_id: UUID | None = None
    api_key: str = Field(default="", repr=False)
    endpoint_id: UUID | None = None
    endpoint_secret: str = Field(default="", repr=False)

    @property
    def login(self) -> ProviderLogin:
        return ProviderLogin(self.account_sid, self.auth_token)

    @property
    def sandbox_url(self) -> str:
        return f"http://{LOOPBACK}:{self.sandbox_port}"

    @property
    def stand_ins_url(self) -> str:
        return f"http://{LOOPBACK}:{self.stand_ins_port}"

    @property
    def receiver_url(self) -> str:
        return f"http://{LOOPBACK}:{self.receiver_port}"


def read_state(home: Path) -> DevState | None:
    """What the last `waystation dev` left in ``home``; raises NotPossibleHere for a file that is not ours."""
    path = home / _FILE_NAME
    try:
        return DevState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise NotPossibleHere(f"{path} cannot be read; delete it to begin with a new demo tenant") from None


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Held while `waystation dev` runs in a folder; raises NotPossibleHere for a second one, whose ports and
    endpoint would take the place of the first one's, and where the folder cannot be written.
    """
    with _open_lock(home) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotPossibleHere(
                "`waystation dev` runs in this folder already; use that one or another folder"
            ) from None
        yield


def _open_lock(home: Path) -> IO[str]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        return (home / LOCK_NAME).open("w")
    except OSError as error:
        raise NotPossibleHere(
            f"{home} cannot be written ({error.strerror}); go to a folder of your own"
        ) from None


def begin_state(home: Path, gateway_url: str) -> DevState:
    """The kept state with ports that are free now, or a new one with a new provider login."""
    kept = read_state(home)
    sandbox_port = usable_port(kept.sandbox_port if kept else None)
    receiver_port = usable_port(kept.receiver_port if kept else None)
    stand_ins_port = usable_port(kept.stand_ins_port or None if kept else None)
    ports = {
        "sandbox_port": sandbox_port,
        "receiver_port": receiver_port,
        "stand_ins_port": stand_ins_port,
        "gateway_url": gateway_url,
    }
    if kept:
        return kept.model_copy(update=ports)
    return DevState.model_validate(
        {"account_sid": "AC" + secrets.token_hex(16), "auth_token": secrets.token_hex(16), **ports}
    )


def write_state(home: Path, state: DevState) -> None:
    """Stores the state whole, readable by its owner only; raises NotPossibleHere where it cannot be written."""
    draft = home / f"{_FILE_NAME}.{os.getpid()}"
    try:
        home.mkdir(parents=True, exist_ok=True)
        draft.touch(mode=0o600)
        draft.write_text(state.model_dump_json(), encoding="utf-8")
        draft.replace(home / _FILE_NAME)
    except OSError as error:
        raise NotPossibleHere(f"{home / _FILE_NAME} cannot be written: {error.strerror}") from None
