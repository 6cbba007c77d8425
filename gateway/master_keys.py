"""Master keys as an operator meets them: the one that a folder makes for itself, what each seals, and rotation."""

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from db.errors import KeysMissing
from db.resealing import count_everywhere, reseal
from db.sealing import Sealer, decode_master_key, key_id, shown_key_id
from db.tenant import Database
from gateway.settings import SettingsError

FILE_NAME = "master.key"


@contextmanager
def own_master_key(home: Path) -> Iterator[bytes]:
    """The key of a folder's embedded database, made with it.

    Raises SettingsError, which names the file, where it is no key or where the database in the block holds what
    it does not open. A key that was made a moment ago is taken away then: it would pass for the lost one.
    """
    path = home / FILE_NAME
    try:
        made = _make_once(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be made: {error.strerror}") from None
    try:
        yield _read(path)
    except KeysMissing as error:
        if made:
            path.unlink(missing_ok=True)
        problem = "is missing" if made else "is another key"
        raise SettingsError(
            f"{path} {problem}: this folder's database holds what was sealed with the key"
            f" {', '.join(error.key_ids)}; restore that file, or delete {home} to begin anew"
        ) from None


def _make_once(path: Path) -> bool:
    """Whether there was no file; it appears whole, and whoever comes second reads the first one's."""
    if path.exists():
        return False
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(base64.b64encode(os.urandom(32)).decode(), encoding="ascii")
    try:
        path.hardlink_to(draft)
    except FileExistsError:  # another process was quicker
        return False
    finally:
        draft.unlink()
    return True


def _read(path: Path) -> bytes:
    try:
        return decode_master_key(path.read_text(encoding="ascii"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        problem = "it is not text" if isinstance(error, UnicodeError) else error
        raise SettingsError(f"{path} holds no key ({problem}); restore it from a backup") from None


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A master key by its id, and how many values it seals; ``first`` seals what is new."""

    key_id: str
    first: bool
    listed: bool
    seals: int

    def told(self) -> str:
        """One line about it, and whether it may go."""
        values = f"{self.seals} value{'' if self.seals == 1 else 's'}"
        if self.first:
            return f"key {self.key_id}: the first, seals {values} and all that is new"
        if not self.listed:
            return f"key {self.key_id}: not in the list, though it seals {values}; nothing else opens them"
        if self.seals:
            return f"key {self.key_id}: seals {values}; keep it, and run `waystation keys rotate`"
        return f"key {self.key_id}: seals nothing; it may go once every process runs with the new list"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def key_uses(master_keys: Sequence[bytes], counts: Mapping[bytes, int]) -> list[KeyUse]:
    """Every key that is listed, in the list's order, then those that are not and seal something all the same."""
    listed = list(dict.fromkeys(map(key_id, master_keys)))
    return [
        KeyUse(shown_key_id(identity), identity == listed[0], identity in listed, counts.get(identity, 0))
        for identity in (*listed, *sorted(counts.keys() - set(listed)))
    ]


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did, and what each key seals afterwards."""

    resealed: int
    uses: list[KeyUse]


async def rotate(
    database: Database, master_keys: Sequence[bytes], on_progress: Callable[[int, int], None]
) -> Rotation:
    """Seals with the first key what the others seal; ``on_progress`` hears values done and values in all."""
    sealer = Sealer(master_keys)
    before = await count_everywhere(database)
    total, done = sum(before.get(older, 0) for older in sealer.older_ids), 0

    def on_batch(values: int) -> None:
        nonlocal done
        done += values
        on_progress(done, total)

    resealed = await reseal(database, sealer, on_batch)
    return Rotation(resealed, key_uses(master_keys, await count_everywhere(database)))
