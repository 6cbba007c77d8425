"""The set-up of a bare machine: locks that fit pyproject, scripts that say what to do, a sound image."""

import importlib
import importlib.metadata
import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gateway.settings import Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = {"requirements.lock": ["build"], "requirements-dev.lock": ["build", "dev"]}
PACKAGES = ["gateway", "channels", "handlers", "db"]


@dataclass(frozen=True)
class Pin:
    """One entry of a lock file."""

    name: str
    version: str
    hashes: int


def read_lock(name: str) -> list[Pin]:
    entries = (ROOT / name).read_text().replace("\\\n", " ").splitlines()
    return [read_pin(entry) for entry in entries if entry.strip()]


def read_pin(entry: str) -> Pin:
    requirement = Requirement(entry.split("--hash=", maxsplit=1)[0].strip())
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
    return Pin(canonicalize_name(requirement.name), specifier.version, hashes)


@pytest.mark.parametrize("lock", GROUPS)
def test_a_lock_names_a_fitting_version_of_everything_that_pyproject_asks_for(lock: str) -> None:
    pins = read_lock(lock)
    wanted = PYPROJECT["project"]["dependencies"] + PYPROJECT["build-system"]["requires"]
    wanted += [line for group in GROUPS[lock] for line in PYPROJECT["dependency-groups"][group]]
    for requirement in map(Requirement, wanted):
        versions = [pin.version for pin in pins if pin.name == canonicalize_name(requirement.name)]
        assert versions, f"{requirement} is not in {lock}: run make lock"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{requirement}: run make lock"
        )


@pytest.mark.parametrize("lock", GROUPS)
def test_every_entry_of_a_lock_has_hashes_and_none_an_address(lock: str) -> None:
    assert all(pin.hashes for pin in read_lock(lock))
    assert "://" not in (ROOT / lock).read_text()


def test_the_lock_for_development_holds_the_runtimes_in_the_same_versions() -> None:
    runtime = {(pin.name, pin.version) for pin in read_lock("requirements.lock")}
    assert runtime < {(pin.name, pin.version) for pin in read_lock("requirements-dev.lock")}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_top_level_package_is_ours_and_nobody_elses(package: str) -> None:
    """`channels` and `db` are other people's names on the index; pip would overwrite ours without a word."""
    module = importlib.import_module(package)
    assert module.__file__ == str(ROOT / package / "__init__.py")
    assert set(importlib.metadata.packages_distributions().get(package, [])) <= {"waystation"}


def test_every_target_of_the_contract_can_be_made() -> None:
    for target in ("setup", "demo", "run", "test"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", ["scripts/setup", "scripts/lock", ".ci/run"])
def test_a_script_can_be_run_and_parsed(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    shell = "bash" if "bash" in (ROOT / script).read_text().splitlines()[0] else "sh"
    subprocess.run([shell, "-n", ROOT / script], check=True)


def test_ci_runs_what_a_developer_runs() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def find_python(python: Path | str) -> str:
    """What the scripts say when that is the only Python."""
    done = subprocess.run(
        ["/bin/sh", "-c", ". scripts/python.sh; find_python; echo found $PYTHON_FOUND"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == done.stdout.startswith("found ")
    return done.stdout + done.stderr


def fake_python(folder: Path, body: str) -> Path:
    """A command that answers the scripts' questions as some Python would."""
    file = folder / "python3"
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def test_without_a_python_the_scripts_say_what_to_install() -> None:
    assert re.search(r"needs Python 3\.11 or newer; found: none\..*\nMend: ", find_python("/no/python"))


def test_an_old_python_is_refused_by_its_version(tmp_path: Path) -> None:
    old = fake_python(tmp_path, '[ "$1" = --version ] && echo Python 3.9.2; [ "$1" = --version ]')
    assert "found: Python 3.9.2" in find_python(old)


def test_a_python_with_neither_pip_nor_ensurepip_is_refused_with_the_mend(tmp_path: Path) -> None:
    bare = fake_python(tmp_path, 'case "$2" in *pip*) exit 1 ;; esac')
    assert "has neither pip 22.3 or newer nor ensurepip.\nMend: apt-get install python3-pip" in find_python(
        bare
    )


def test_a_python_with_ensurepip_alone_will_do(tmp_path: Path) -> None:
    bare = fake_python(tmp_path, 'case "$2" in *"import sys, pip"*) exit 1 ;; esac')
    assert find_python(bare) == f"found {bare}\n"


def dockerfile() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def test_the_image_runs_without_rights_and_tells_whether_it_lives() -> None:
    steps = dockerfile()
    last_stage = dict(steps[max(number for number, step in enumerate(steps) if step[0] == "FROM") :])
    assert last_stage["USER"] not in {"root", "0"}
    assert "/live" in last_stage["HEALTHCHECK"]
    assert last_stage["ENTRYPOINT"] == '["waystation"]'
    assert last_stage["CMD"] == '["serve", "--workers", "1"]'
    assert last_stage["EXPOSE"] == "8080"
    assert "WAYSTATION_HOST=0.0.0.0" in last_stage["ENV"]
    assert "PYTHONPATH=/app" in last_stage["ENV"]


def test_the_image_installs_only_what_the_lock_names() -> None:
    installs = [
        part
        for kind, text in dockerfile()
        if kind == "RUN"
        for part in re.findall(r"pip .*?install[^&]*", text)
    ]
    assert installs
    assert all("--require-hashes" in install or "--no-deps" in install for install in installs)


def test_everything_that_the_image_copies_is_there_and_let_through() -> None:
    sources = {
        word
        for kind, text in dockerfile()
        if kind == "COPY" and "--from" not in text
        for word in text.split()[:-1]
    }
    assert sources >= {"requirements.lock", *PACKAGES}
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert let_through == sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_example_of_an_environment_names_every_setting_and_only_those(tmp_path: Path) -> None:
    text = re.sub(
        r"^#((?:WAYSTATION|OPENAI)_\w+=)", r"\1", (ROOT / ".env.example").read_text(), flags=re.MULTILINE
    )
    (tmp_path / ".env").write_text(text)
    read_settings(environ={}, env_file=tmp_path / ".env")
    named = set(re.findall(r"^(\w+)=", text, flags=re.MULTILINE))
    fields = {
        f"WAYSTATION_{field}".upper() for field in Settings.model_fields if not field.startswith("openai_")
    }
    assert named >= fields


def test_no_uv_lock_is_kept() -> None:
    """It would hold the address of whoever's package index made it (docs/adr/0003)."""
    assert not (ROOT / "uv.lock").exists()
