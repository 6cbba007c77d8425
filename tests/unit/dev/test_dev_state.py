"""What `waystation dev` keeps: private, stable over restarts, and never guessed at."""

import socket
import stat
from uuid import UUID

import pytest

from gateway.dev.dev_state import NotPossibleHere, begin_state, only_one, read_state, write_state
from gateway.ports import usable_port

URL = "http://127.0.0.1:8080"


def test_it_is_kept_privately_and_comes_back(tmp_path):
    home = tmp_path / ".waystation"
    assert read_state(home) is None
    begun = begin_state(home, URL)
    kept = begun.model_copy(update={"api_key": "wst_key", "distributor_id": UUID(int=7)})
    write_state(home, kept)
    assert stat.S_IMODE((home / "dev.json").stat().st_mode) == 0o600
    assert read_state(home) == kept
    assert begin_state(home, URL) == kept
    assert [entry.name for entry in home.iterdir()] == ["dev.json"]


def test_secrets_are_not_printed(tmp_path):
    state = begin_state(tmp_path, URL).model_copy(update={"api_key": "wst_key"})
    assert "wst_key" not in repr(state)
    assert state.auth_token not in repr(state) + repr(state.login)


def test_a_taken_port_is_replaced(tmp_path):
    begun = begin_state(tmp_path, URL)
    write_state(tmp_path, begun)
    with socket.socket() as other:
        other.bind(("127.0.0.1", begun.sandbox_port))
        other.listen()
        again = begin_state(tmp_path, URL)
        assert usable_port(begun.sandbox_port) != begun.sandbox_port
    assert again.sandbox_port != begun.sandbox_port
    assert again.receiver_port == begun.receiver_port


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]"])
def test_a_file_that_is_not_ours_is_named(tmp_path, content):
    (tmp_path / "dev.json").write_bytes(content)
    with pytest.raises(NotPossibleHere, match=r"dev\.json cannot be read; delete it"):
        begin_state(tmp_path, URL)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    home = tmp_path / "file" / ".waystation"
    home.parent.touch()  # root may write everywhere but below a file

    with pytest.raises(NotPossibleHere, match="waystation cannot be written"), only_one(home):
        pass
    with pytest.raises(NotPossibleHere, match="json cannot be written"):
        write_state(home, begin_state(tmp_path, URL))
