"""Where a mail belongs: what is most to be trusted first, and nothing of another account."""

import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import MailThread
from channels.mail_tokens import TOKEN, our_message_id
from db.sealing import Sealer
from handlers.threads import find_thread, make_reply_token, read_reply_token

OLD, NEW = bytes(32), bytes(range(32))
TENANT, ACCOUNT, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
SEALER = Sealer([NEW])
THREAD, SECOND = "0123456789abcdef", "fedcba9876543210"


def token(thread_key: str = THREAD) -> str:
    return make_reply_token(SEALER, TENANT, ACCOUNT, thread_key)


def ours(thread_key: str = THREAD) -> str:
    return our_message_id(token(thread_key), "0" * 32, "example.test")


def key_of(root_id: str) -> str:
    return hashlib.sha256(root_id.encode()).hexdigest()[:16]


def test_a_token_names_its_thread():
    assert TOKEN.fullmatch(token())
    assert read_reply_token(SEALER, TENANT, ACCOUNT, token()) == THREAD


@pytest.mark.parametrize(
    ("sealer", "tenant", "account", "expected"),
    [
        (Sealer([OLD, NEW]), TENANT, ACCOUNT, THREAD),
        (Sealer([OLD]), TENANT, ACCOUNT, None),
        (SEALER, OTHER, ACCOUNT, None),
        (SEALER, TENANT, OTHER, None),
    ],
    ids=["an-older-key", "an-unknown-key", "another-tenant", "another-account"],
)
def test_a_token_is_good_for_one_account_and_any_of_its_keys(
    sealer: Sealer, tenant: UUID, account: UUID, expected: str | None
):
    assert read_reply_token(sealer, tenant, account, token()) == expected


@given(position=st.integers(0, 31), digit=st.sampled_from("0123456789abcdef"))
def test_a_changed_digit_is_refused(position: int, digit: str):
    changed = token()[:position] + digit + token()[position + 1 :]

    assert read_reply_token(SEALER, TENANT, ACCOUNT, changed) == (THREAD if changed == token() else None)


@given(st.text(max_size=40))
def test_no_text_is_a_token_by_chance(text: str):
    assert read_reply_token(SEALER, TENANT, ACCOUNT, text) is None


FORGED = THREAD + "0" * 16
CASES = {
    "the address": (
        MailThread("m1", in_reply_to=(ours(SECOND),), reply_tokens=(token(),)),
        THREAD,
        (),
    ),
    "a forged address": (
        MailThread("m1", in_reply_to=(ours(SECOND),), reply_tokens=(FORGED,)),
        SECOND,
        (),
    ),
    "in-reply-to before references": (
        MailThread("m1", in_reply_to=(ours(),), references=(ours(SECOND),)),
        THREAD,
        (),
    ),
    "the last reference first": (
        MailThread("m1", references=(ours(SECOND), "theirs", ours(), "last")),
        THREAD,
        ("last",),
    ),
    "a forged id of ours": (
        MailThread("m1", in_reply_to=(f"{FORGED}.{'0' * 32}@example.test",), body_tokens=(token(),)),
        THREAD,
        (f"{FORGED}.{'0' * 32}@example.test",),
    ),
    "stored ids before the text": (
        MailThread("m1", in_reply_to=("p",), references=("r", "p"), body_tokens=(FORGED, token())),
        THREAD,
        ("p", "r"),
    ),
    "a new thread": (MailThread("m1"), key_of("m1"), ()),
    "an answer to a foreign mail": (
        MailThread("m1", in_reply_to=("p",), references=("r", "p")),
        key_of("r"),
        ("p", "r"),
    ),
    "no id at all": (MailThread(""), key_of("KEY"), ()),
    "an id that is none": (MailThread("m1", in_reply_to=("x" * 999, ""), references=("r",)), key_of("r"), ("r",)),
}  # fmt: skip


@pytest.mark.parametrize(("thread", "key", "named"), CASES.values(), ids=CASES)
def test_where_a_mail_belongs(thread: MailThread, key: str, named: tuple[str, ...]):
    hint = find_thread(SEALER, TENANT, ACCOUNT, thread, "KEY")

    assert (hint.key, hint.named) == (key, named)


def test_a_mail_may_name_only_so_many_others():
    many = tuple(f"id{number}" for number in range(1_000))

    hint = find_thread(SEALER, TENANT, ACCOUNT, MailThread("m1", in_reply_to=many, references=many), "KEY")

    assert hint.named[:6] == ("id0", "id1", "id2", "id3", "id4", "id999")
    assert len(hint.named) == 35
