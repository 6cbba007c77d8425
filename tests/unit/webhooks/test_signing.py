"""Signatures: the published vectors, other implementations as judges, rotation, and what is refused."""

import base64
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from channels.errors import InvalidInput
from handlers.webhooks.signing import (
    MAX_SECRETS,
    EndpointSecret,
    Signing,
    active_keys,
    decode_secret,
    dump_secrets,
    load_keys,
    load_secrets,
    new_private_key,
    new_secret,
    rotate,
    shown_public_key,
    sign,
    signature_headers,
    signing_key,
    with_signing,
)
from tests.factories import signing_keys

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_PAIR = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
VECTOR_PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
VECTORS = [
    (VECTOR_SECRET, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    (
        VECTOR_PAIR,
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    ),
]
BODIES = [b"", b"{}", b'{"b":1,"a":2}', '{"t":"ñandú 🥑 \\u0000"}'.encode(), b'{"n":1e400}']


def _secret(seed: int) -> str:
    return new_secret(random.Random(seed).randbytes)


def _pair(seed: int) -> str:
    return new_private_key(random.Random(seed).randbytes)


def _of(length: int, prefix: str = "whsec_") -> str:
    return prefix + base64.b64encode(bytes(range(length))).decode()


def _by_standardwebhooks(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def _by_svix(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        svix.webhooks.Webhook(secret).verify(body or b"0", headers)
    except svix.webhooks.WebhookVerificationError:
        return False
    return True


def _by_cryptography(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """No library for webhooks verifies ``v1a`` yet."""
    public = Ed25519PublicKey.from_public_bytes(signing_keys(secret)[0].public or b"")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for entry in headers["webhook-signature"].split(" "):
        version, _, signature = entry.partition(",")
        try:
            if version == "v1a":
                public.verify(base64.b64decode(signature), signed)
                return True
        except InvalidSignature:
            continue
    return False


JUDGES: list[tuple[Callable[[int], str], Callable[[str, dict[str, str], bytes], bool]]] = [
    (_secret, _by_standardwebhooks),
    (_secret, _by_svix),
    (_pair, _by_cryptography),
]
judged = pytest.mark.parametrize(("make", "verifies"), JUDGES, ids=["standardwebhooks", "svix", "v1a"])


def _headers(body: bytes, *secrets: str) -> dict[str, str]:
    """Headers of this moment: the public libraries compare with the machine's clock."""
    return signature_headers("evt_1", int(datetime.now(UTC).timestamp()), body, signing_keys(*secrets))


@pytest.mark.parametrize(("secret", "signature"), VECTORS, ids=["v1", "v1a"])
def test_the_published_vectors(secret, signature):
    keys = signing_keys(secret)

    assert sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', keys) == signature


def test_the_public_key_of_the_vector():
    (key,) = signing_keys(VECTOR_PAIR)

    assert shown_public_key(key.public or b"") == VECTOR_PUBLIC


@judged
@pytest.mark.parametrize("body", BODIES[1:4])
def test_a_judge_accepts_the_exact_bytes_and_no_others(make, verifies, body):
    secret = make(1)
    headers = _headers(body, secret)

    assert verifies(secret, headers, body)
    assert not verifies(secret, headers, body + b" ")
    assert not verifies(secret, headers | {"webhook-id": "evt_2"}, body)
    earlier = str(int(headers["webhook-timestamp"]) - 1)
    assert not verifies(secret, headers | {"webhook-timestamp": earlier}, body)
    assert not verifies(make(2), headers, body)


@pytest.mark.parametrize("body", BODIES)
def test_bodies_that_are_no_json_are_signed_all_the_same(body):
    headers = _headers(body, _secret(1), _pair(1))

    assert _by_standardwebhooks(_secret(1), headers, body)
    assert _by_cryptography(_pair(1), headers, body)


@judged
@pytest.mark.parametrize("order", [1, -1])
def test_both_versions_in_one_header_are_taken_by_those_who_know_one(make, verifies, order):
    headers = _headers(b"{}", *(_secret(1), _pair(1))[::order])

    assert verifies(make(1), headers, b"{}")


@given(st.binary(max_size=200), st.integers(0, 2**33), st.integers(1, 4))
def test_every_secret_signs_in_its_own_entry(body, timestamp, count):
    keys = signing_keys(*(kind(seed) for seed in range(count) for kind in (_secret, _pair)))

    entries = sign("evt_1", timestamp, body, keys).split(" ")

    assert [sign("evt_1", timestamp, body, [key]) for key in keys] == entries
    assert len(set(entries)) == 2 * count
    assert [entry.partition(",")[0] for entry in entries] == ["v1", "v1a"] * count


@judged
def test_old_and_new_receivers_both_accept_during_the_overlap(make, verifies):
    old, new = make(1), make(2)
    keys = load_keys(dump_secrets(rotate([EndpointSecret(old)], NOW, DAY, [new])))
    new_key, old_key = keys
    assert active_keys(keys, NOW + DAY - timedelta(seconds=1)) == (new_key, old_key)
    assert active_keys(keys, NOW + DAY) == (new_key,)

    headers = _headers(b"{}", new, old)
    assert verifies(new, headers, b"{}")
    assert verifies(old, headers, b"{}")
    assert not verifies(old, _headers(b"{}", new), b"{}")


def test_a_second_rotation_leaves_the_first_overlap_alone():
    first = rotate([EndpointSecret(_secret(1))], NOW, DAY, [_secret(2)])

    second = rotate(first, NOW + DAY / 2, DAY, [_secret(3)])

    assert second == (
        EndpointSecret(_secret(3)),
        EndpointSecret(_secret(2), NOW + DAY * 1.5),
        EndpointSecret(_secret(1), NOW + DAY),
    )


def test_both_kinds_rotate_together_the_new_first():
    first = [EndpointSecret(_secret(1)), EndpointSecret(_pair(1))]

    assert rotate(first, NOW, DAY, [_secret(2), _pair(2)]) == (
        EndpointSecret(_secret(2)),
        EndpointSecret(_pair(2)),
        EndpointSecret(_secret(1), NOW + DAY),
        EndpointSecret(_pair(1), NOW + DAY),
    )


def test_a_shorter_overlap_also_ends_older_secrets():
    first = rotate([EndpointSecret(_secret(1))], NOW, DAY, [_secret(2)])

    assert rotate(first, NOW, timedelta(0), [_secret(3)]) == (EndpointSecret(_secret(3)),)


def test_what_no_longer_signs_is_dropped_and_the_rest_capped():
    secrets: tuple[EndpointSecret, ...] = (EndpointSecret(_secret(0)), EndpointSecret(_secret(1), NOW))
    assert len(rotate(secrets, NOW, DAY, [_secret(2)])) == 2

    for seed in range(3, 20):
        secrets = rotate(secrets, NOW, DAY, [_secret(seed)])
    assert len(secrets) == MAX_SECRETS
    assert [_secret(19), _secret(18)] == [secret.value for secret in secrets[:2]]


SECRETS, PAIRS = [_secret(seed) for seed in range(4)], [_pair(seed) for seed in range(4)]
NEW_PAIR = new_private_key(random.Random(9).randbytes)
HELD = {  # today's, then what overlaps
    "hmac": [SECRETS[1], SECRETS[0]],
    "ed25519": [PAIRS[1], PAIRS[0]],
    "both": [SECRETS[1], PAIRS[1], SECRETS[0], PAIRS[0]],
}


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ("hmac", "hmac", [SECRETS[1], SECRETS[0]]),
        ("hmac", "both", [SECRETS[1], NEW_PAIR, SECRETS[0]]),
        ("hmac", "ed25519", [NEW_PAIR]),
        ("both", "hmac", [SECRETS[1], SECRETS[0]]),
        ("both", "ed25519", [PAIRS[1], PAIRS[0]]),
        ("both", "both", [SECRETS[1], PAIRS[1], SECRETS[0], PAIRS[0]]),
        ("ed25519", "ed25519", [PAIRS[1], PAIRS[0]]),
    ],
)
def test_another_kind_of_signing_drops_what_it_does_not_use_and_makes_a_key_pair(before, after, left):
    held = _held(before)

    made = with_signing(held, Signing(after), random.Random(9).randbytes)

    assert [secret.value for secret in made] == left
    assert set(made) - set(held) <= {EndpointSecret(NEW_PAIR)}


@pytest.mark.parametrize("after", ["hmac", "both"])
def test_a_secret_that_nobody_would_be_shown_is_not_made(after):
    with pytest.raises(InvalidInput, match="rotate-secret") as caught:
        with_signing(_held("ed25519"), Signing(after), random.Random(9).randbytes)

    assert caught.value.field == "signing"


def _held(kind: str) -> tuple[EndpointSecret, ...]:
    older = {SECRETS[0]: NOW, PAIRS[0]: NOW}
    return tuple(EndpointSecret(value, older.get(value)) for value in HELD[kind])


def test_a_new_secret_is_32_random_bytes():
    secret = new_secret(random.Random(1).randbytes)

    assert decode_secret(secret) == random.Random(1).randbytes(32)
    assert secret.startswith("whsec_")


@pytest.mark.parametrize("length", [24, 32, 64])
def test_secrets_within_the_bounds_are_taken(length):
    assert decode_secret(_of(length)) == bytes(range(length))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        _of(23),
        _of(65),
        _of(32).removeprefix("whsec_"),
        _of(32).rstrip("="),
        _of(32)[:-2] + "9=",  # the same bytes, but not canonical
        _of(24) + "\n",
        "whsec_" + "ñ" * 32,
        "whsec_" + "-_" * 16,
        "whpk_" + "A" * 32,
        "whsk_",
        _of(32, "whsk_"),
        _of(64, "whsk_"),  # a public half that is not the seed's
        VECTOR_PAIR + "=",
        "whsk_" + VECTOR_PAIR,
    ],
)
def test_any_other_secret_is_refused_and_never_repeated(secret):
    for attempt in (lambda: signing_keys(secret), lambda: rotate([], NOW, DAY, [secret])):
        with pytest.raises(InvalidInput) as caught:
            attempt()
        assert caught.value.field == "secret"
        assert len(secret) < 7 or secret not in str(caught.value)


def test_without_a_secret_nothing_is_signed():
    with pytest.raises(InvalidInput, match="no secret"):
        sign("evt_1", 1, b"", [])


@pytest.mark.parametrize("event_id", ["", "evt.1", "evt 1"])
def test_an_id_that_would_blur_the_signed_bytes_is_refused(event_id):
    with pytest.raises(InvalidInput) as caught:
        sign(event_id, 1, b"", signing_keys(_secret(1)))

    assert caught.value.field == "event_id"


def test_secrets_survive_their_sealed_form_and_do_not_print():
    secrets = rotate([EndpointSecret(_secret(1)), EndpointSecret(_pair(1))], NOW, DAY, [_secret(2), _pair(2)])

    assert load_secrets(dump_secrets(secrets)) == secrets
    keys = load_keys(dump_secrets(secrets))
    assert [key.expires_at for key in keys] == [None, None, NOW + DAY, NOW + DAY]
    assert "whs" not in repr((secrets, keys))
    raw = base64.b64decode(_secret(1).removeprefix("whsec_"))
    assert repr(raw)[2:-1] not in repr(keys)


def test_a_keys_id_tells_keys_apart_and_is_the_same_every_time():
    values = [kind(seed) for seed in range(50) for kind in (_secret, _pair)]
    ids = [key.id for key in signing_keys(*values)]

    assert ids == [key.id for key in signing_keys(*values)]
    assert len(set(ids)) == len(values)
    assert all(len(shown) == 8 and int(shown, 16) >= 0 for shown in ids)
    assert signing_key(EndpointSecret(values[0], NOW)).id == ids[0]  # whenever it ends
