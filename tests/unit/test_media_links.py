"""A link's token: good until it ends, for its file only, made by one of the master keys."""

import base64
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.sealing import Sealer
from handlers.media_links import make_token, read_token
from tests.fakes import START

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
TENANT, OTHER, FILE = UUID(int=1), UUID(int=2), UUID(int=3)
ENDS = START + timedelta(minutes=15)
TOKEN = make_token(Sealer([OLD]), TENANT, FILE, ENDS)


def test_a_token_names_its_file():
    assert read_token(Sealer([OLD]), TOKEN, START) == (TENANT, FILE)
    assert len(TOKEN) < 80


@pytest.mark.parametrize(
    ("keys", "reads"), [([OLD], True), ([NEW, OLD], True), ([OLD, NEW], True), ([NEW], False)]
)
def test_any_master_key_may_have_made_it(keys: list[bytes], reads: bool):
    assert (read_token(Sealer(keys), TOKEN, START) is not None) is reads


def test_new_ones_are_made_with_the_first_key():
    token = make_token(Sealer([NEW, OLD]), TENANT, FILE, ENDS)

    assert read_token(Sealer([NEW]), token, START) == (TENANT, FILE)
    assert read_token(Sealer([OLD]), token, START) is None


@pytest.mark.parametrize(("seconds", "reads"), [(0, True), (899, True), (900, False), (10**8, False)])
def test_it_ends(seconds: int, reads: bool):
    now = START + timedelta(seconds=seconds)

    assert (read_token(Sealer([OLD]), TOKEN, now) is not None) is reads


@given(st.integers(0, 53), st.integers(1, 255))
def test_every_byte_counts(position: int, flipped: int):
    raw = bytearray(base64.urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4)))
    raw[position] ^= flipped
    token = base64.urlsafe_b64encode(raw).decode().rstrip("=")

    assert read_token(Sealer([OLD]), token, START) is None


@given(
    st.text(max_size=100) | st.binary(max_size=100).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_nothing_else_is_a_token(text: str):
    assert read_token(Sealer([OLD]), text, START) is None


@pytest.mark.parametrize("changed", [TOKEN[:-1], TOKEN + "A", TOKEN + "=", " " + TOKEN, TOKEN.lower(), ""])
def test_no_other_form_is_taken(changed: str):
    assert read_token(Sealer([OLD]), changed, START) is None


def test_a_token_is_of_one_tenant():
    assert make_token(Sealer([OLD]), OTHER, FILE, ENDS) != TOKEN
