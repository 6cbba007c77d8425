"""What the README says is true: its settings are all settings, its commands exist, its code runs."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from channels.registry import build_adapters
from gateway.api.accounts import AccountCreate
from gateway.api.endpoint_models import EndpointCreate
from gateway.settings import Settings
from handlers.ai.files import extract_file
from handlers.ai.rules import RulesEngine
from handlers.webhooks.signing import new_secret, signature_headers
from tests.factories import signing_keys

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
    headers = signature_headers("evt_1", int(time.time()), body, signing_keys(other, secret))

    assert callable(is_genuine)
    assert is_genuine(secret, headers, body)
    assert not is_genuine(secret, headers, body + b" ")
    assert not is_genuine(new_secret(lambda count: b"y" * count), headers, body)
    late = signature_headers("evt_1", int(time.time()) - 301, body, signing_keys(secret))
    assert not is_genuine(secret, late, body)


def test_the_examples_of_requests_are_taken_as_they_are_written():
    bodies = [
        json.loads(body)
        for block in blocks("sh")
        for body in re.findall(r"-d '(.*?)'", block, flags=re.DOTALL)
    ]
    account = AccountCreate.model_validate(bodies[0])
    EndpointCreate.model_validate(bodies[1])

    adapter = build_adapters()[account.provider]
    assert adapter.validate_credentials(account.credentials)["auth_token"]
    assert account.channel in adapter.channels
    assert len(bodies) == 2


def test_the_files_of_extract_give_what_is_written(tmp_path: Path):
    catalogue, message, wanted = blocks("json")
    (tmp_path / "catalogue.json").write_text(catalogue, encoding="utf-8")
    (tmp_path / "messages.jsonl").write_text(message, encoding="utf-8")

    done = extract_file(
        tmp_path / "catalogue.json", tmp_path / "messages.jsonl", tmp_path / "out.jsonl", RulesEngine()
    )

    assert done == 1
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8")) == json.loads(wanted)


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http|#)[^)]+)\)", README))
def test_links_lead_somewhere(path: str):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([^)]+)\)", README))
def test_links_within_the_page_lead_somewhere(anchor: str):
    headings = re.findall(r"^#+ (.*)$", README, flags=re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
