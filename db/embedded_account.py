"""The account of the machine that root gives an embedded server to, since PostgreSQL refuses to run as root."""

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from db.embedded_process import SystemUser

ACCOUNT: Final = "waystation"
LAST_RESORT_ACCOUNT: Final = "nobody"
ACCOUNTS_FOLDER: Final = Path("/etc")  # where the lists of accounts lie, on every system that has them


def service_account(name: str = ACCOUNT) -> SystemUser:
    """The account `name`, made if it is missing; `nobody` where accounts cannot be made.

    One process at a time looks and makes: of two `useradd` at the same moment the second replaces the entry that
    the first has made, and whoever read the first id then runs under one without a name.
    """
    with _one_at_a_time():
        for make in ([], *_makers(name)):
            if make:
                subprocess.run(make, check=False, capture_output=True)  # noqa: S603 - its effect is looked up
            with contextlib.suppress(KeyError):  # not there yet: the next way
                return _by_name(name)
    return _by_name(LAST_RESORT_ACCOUNT)


def account_of(uid: int) -> SystemUser:
    """The account with that id; an id without a name, as containers have them, is its own name."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return SystemUser(str(uid), uid, uid)
    return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock on the folder of the accounts: no file is left behind, and a death lets go of it."""
    folder = os.open(ACCOUNTS_FOLDER, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _makers(name: str) -> list[list[str]]:
    arguments = {
        "useradd": ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
        "adduser": ["-S", "-D", "-H", "-s", "/sbin/nologin", name],  # BusyBox
    }
    return [[found, *arguments[program]] for program in arguments if (found := shutil.which(program))]


def _by_name(name: str) -> SystemUser:
    entry = pwd.getpwnam(name)
    return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
