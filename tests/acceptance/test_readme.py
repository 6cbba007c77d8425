"""What the README says is true: its settings are all settings, its commands exist, its code runs."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.settings import RESERVED_NAMES, Settings
from handlers.webhooks.signing import new_secret, signature_headers

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_table_of_settings_is_complete():
    named = set(re.findall(r"^\| `((?:WAYSTATION|OPENAI)_[A-Z_]+)` \|", README, flags=re.MULTILINE))
    plain = {"openai_api_key", "openai_base_url"}
    fields = {
        name.upper() if name in plain else f"WAYSTATION_{name.upper()}" for name in Settings.model_fields
    }

    assert named == fields
    assert not named & RESERVED_NAMES


def test_every_command_of_the_table_exists_and_no_other():
    named = set(re.findall(r"^\| `waystation ([a-z]+)(?: [a-z]+)?` \|", README, flags=re.MULTILINE))
    output = subprocess.run(
        [sys.executable, "-m", "gateway", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"COLUMNS": "100"},
    ).stdout
    offered = set(re.findall(r"^│ ([a-z]+) ", output, flags=re.MULTILINE))

    assert named == offered


def test_the_verification_example_accepts_ours_and_refuses_a_forgery():
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    is_genuine = names["is_genuine"]
    secret, other, body = (
        new_secret(bytes),
        new_secret(lambda count: b"x" * count),
        b'{"type":"order.created"}',
    )
    headers = signature_headers("evt_1", int(time.time()), body, [other, secret])

    assert callable(is_genuine)
    assert is_genuine(secret, headers, body)
    assert not is_genuine(secret, headers, body + b" ")
    assert not is_genuine(new_secret(lambda count: b"y" * count), headers, body)
    assert not is_genuine(secret, signature_headers("evt_1", int(time.time()) - 301, body, [secret]), body)


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_links_lead_somewhere(path: str):
    assert (ROOT / path).exists()
