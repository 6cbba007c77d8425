"""Sealed values open with their key and context, and with nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import SealBroken
from db.sealing import Sealer, decode_master_key, derive_login_password, derive_login_verifier

OLD, NEW = bytes(32), bytes(range(32))


def test_a_value_opens_again():
    sealer = Sealer([NEW])

    assert sealer.open_json(sealer.seal_json({"a": 1}, "t:1"), "t:1") == {"a": 1}


def test_rotation_seals_with_the_first_key_and_opens_with_any():
    sealed = Sealer([OLD]).seal(b"x", "c")
    both = Sealer([NEW, OLD])

    assert both.open(sealed, "c") == b"x"
    assert Sealer([NEW]).open(both.seal(b"x", "c"), "c") == b"x"


@given(position=st.integers(min_value=0, max_value=85), bit=st.integers(min_value=0, max_value=7))
def test_a_changed_byte_is_refused(position: int, bit: int):
    sealer = Sealer([NEW])
    sealed = bytearray(sealer.seal(b"secret", "c"))
    sealed[position] ^= 1 << bit

    with pytest.raises(SealBroken):
        sealer.open(bytes(sealed), "c")


@pytest.mark.parametrize(
    "sealed",
    [b"", b"\x01", Sealer([OLD]).seal(b"x", "c"), Sealer([NEW]).seal(b"x", "other row")],
    ids=["empty", "cut-short", "another-key", "another-row"],
)
def test_what_is_not_ours_is_refused(sealed: bytes):
    with pytest.raises(SealBroken):
        Sealer([NEW]).open(sealed, "c")


def test_the_same_value_is_sealed_differently_each_time():
    sealer = Sealer([NEW])

    assert sealer.seal(b"x", "c") != sealer.seal(b"x", "c")


@pytest.mark.parametrize("text", ["", "AAAA", "!" * 44, "A" * 44])
def test_a_bad_master_key_is_not_repeated(text: str):
    with pytest.raises(ValueError, match="master key must be") as caught:
        decode_master_key(text)

    assert not text or text not in str(caught.value)


def test_a_login_password_depends_on_the_key_alone():
    assert derive_login_password(OLD) == derive_login_password(OLD) != derive_login_password(NEW)


def test_a_logins_verifier_is_of_the_form_that_postgresql_takes_and_tells_no_password():
    verifier = derive_login_verifier(OLD)

    assert re.fullmatch(
        r"SCRAM-SHA-256\$4096:[A-Za-z0-9+/=]{24}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}", verifier
    )
    assert derive_login_password(OLD) not in verifier
    assert verifier != derive_login_verifier(NEW)


def test_no_key_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        Sealer([])
