"""What a demo leaves behind: nothing where it ends, and where it was killed only until the next one."""

import os
import tempfile
from pathlib import Path

import pytest

from db.embedded_cluster import OwnerLock
from gateway.dev.demo_folders import DATABASE, PREFIX, sweep, throw_away_folder
from gateway.dev.dev_state import NotPossibleHere


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def dead(root: Path, name: str = "dead") -> Path:
    """What a killed demo left: its folder, a database, and no lock."""
    folder = root / f"{PREFIX}{name}"
    (folder / DATABASE).mkdir(parents=True)
    return folder


def test_a_folder_is_there_while_its_demo_lives(root: Path):
    with throw_away_folder() as folder:
        (folder / "serve.log").touch()
        assert folder.parent == root
        assert folder.name.startswith(PREFIX)
        assert folder.stat().st_mode & 0o066 == 0
    assert list(root.iterdir()) == []


def test_a_living_demo_is_never_touched(root: Path):
    with throw_away_folder() as folder:
        (folder / DATABASE).mkdir()
        sweep()
        assert (folder / DATABASE).exists()


def test_a_dead_ones_folder_goes_with_what_its_server_kept_elsewhere(root: Path):
    folder, elsewhere, gone = dead(root), root / "place", dead(root, "cut-short")
    (elsewhere / "cluster").mkdir(parents=True)
    (folder / DATABASE / "place").write_text(str(elsewhere))
    (gone / DATABASE / "place").write_text(str(root / "removed already"))

    sweep()

    assert list(root.iterdir()) == []


def test_while_a_dead_ones_server_goes_down_its_folder_stays(root: Path):
    folder = dead(root)
    server = OwnerLock(folder / DATABASE / "owner.lock")
    assert server.acquire()

    sweep()
    assert (folder / DATABASE / "owner.lock").exists()
    server.close()
    sweep()
    assert not folder.exists()


def test_what_others_put_there_is_left(root: Path):
    other = root / "other"
    (other / DATABASE).mkdir(parents=True)
    (root / f"{PREFIX}link").symlink_to(other)
    (root / f"{PREFIX}file").touch()

    sweep()

    assert (other / DATABASE).exists()
    assert {path.name for path in root.iterdir()} == {"other", f"{PREFIX}link", f"{PREFIX}file"}


@pytest.mark.only_as_root
def test_another_accounts_folder_is_left(root: Path):
    """It could name any place of the machine as its server's."""
    folder = dead(root)
    os.chown(folder, 12345, 12345)

    sweep()

    assert folder.exists()


def test_where_no_folder_can_be_made_it_is_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(root / "absent"))

    with pytest.raises(NotPossibleHere, match="set TMPDIR"), throw_away_folder():
        pass
