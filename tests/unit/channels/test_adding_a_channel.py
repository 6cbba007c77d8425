"""docs/adding-a-channel.md: its code is the code that it speaks of, or runs."""

import re
from pathlib import Path

import pytest

from channels import abilities, base
from tests.conformance.document import ABILITIES

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "adding-a-channel.md"
BLOCKS = re.findall(r"<!-- (\S+) -->\n```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("source", "code"), BLOCKS, ids=[f"{number}-{source}" for number, (source, _) in enumerate(BLOCKS)]
)
def test_code_is_from_its_file_or_runs(source: str, code: str):
    if source == "executed":
        exec(code, {})
    else:
        assert code in (ROOT / source).read_text(encoding="utf-8")


def test_all_code_is_compared():
    assert GUIDE.read_text(encoding="utf-8").count("```python") == len(BLOCKS) > 5


def test_every_protocol_and_file_that_it_names_is_there():
    text = GUIDE.read_text(encoding="utf-8")
    protocols = set(re.findall(r"`([A-Z]\w+)` \(|`([A-Z]\w+)` and `([A-Z]\w+)`", text))
    for name in {name for names in protocols for name in names if name}:
        assert hasattr(base, name) or hasattr(abilities, name), name
    for path in re.findall(r"`((?:channels|tests|gateway)/[\w/]+(?:\.py|/))`", text):
        assert (ROOT / path).exists(), path


def test_every_small_protocol_is_told():
    """A newcomer finds here what an adapter may have beyond what it must have."""
    source = Path(abilities.__file__).read_text(encoding="utf-8")
    names = re.findall(r"@runtime_checkable\nclass (\w+)\(Protocol\)", source)
    text = GUIDE.read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []
    assert {kind.__name__ for kind, _ in ABILITIES} == set(names)
