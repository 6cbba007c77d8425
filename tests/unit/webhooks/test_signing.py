"""Signatures: the published vector, the public library as judge, rotation, and what is refused."""

import base64
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from channels.errors import InvalidInput
from handlers.webhooks.signing import (
    MAX_SECRETS,
    EndpointSecret,
    active_secrets,
    decode_secret,
    dump_secrets,
    load_secrets,
    new_secret,
    rotate,
    sign,
    signature_headers,
)

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODIES = [b"", b"{}", b'{"b":1,"a":2}', '{"t":"ñandú 🥑 \\u0000"}'.encode(), b'{"n":1e400}']


def _secret(seed: int) -> str:
    return new_secret(random.Random(seed).randbytes)


def _of(length: int) -> str:
    return "whsec_" + base64.b64encode(bytes(range(length))).decode()


def _verifies(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def _headers(body: bytes, *secrets: str) -> dict[str, str]:
    """Headers of this moment: the public library compares with the machine's clock."""
    return signature_headers("evt_1", int(datetime.now(UTC).timestamp()), body, secrets)


def test_the_published_vector():
    signature = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [VECTOR_SECRET])

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("body", BODIES)
def test_the_public_library_accepts_the_exact_bytes_and_no_others(body):
    secret = _secret(1)
    headers = _headers(body, secret)

    assert _verifies(secret, headers, body)
    assert not _verifies(secret, headers, body + b" ")
    assert not _verifies(secret, headers | {"webhook-id": "evt_2"}, body)
    assert not _verifies(
        secret, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}, body
    )
    assert not _verifies(_secret(2), headers, body)


@given(st.binary(max_size=200), st.integers(0, 2**33), st.integers(1, 4))
def test_every_secret_signs_in_its_own_entry(body, timestamp, count):
    secrets = [_secret(seed) for seed in range(count)]

    entries = sign("evt_1", timestamp, body, secrets).split(" ")

    assert [sign("evt_1", timestamp, body, [secret]) for secret in secrets] == entries
    assert len(set(entries)) == count


def test_old_and_new_receivers_both_accept_during_the_overlap():
    old, new = _secret(1), _secret(2)
    secrets = rotate([EndpointSecret(old)], NOW, DAY, new)
    during = active_secrets(secrets, NOW + DAY - timedelta(seconds=1))
    after = active_secrets(secrets, NOW + DAY)

    assert (new, old) == during
    assert (new,) == after
    headers = _headers(b"{}", *during)
    assert _verifies(new, headers, b"{}")
    assert _verifies(old, headers, b"{}")
    assert not _verifies(old, _headers(b"{}", *after), b"{}")


def test_a_second_rotation_leaves_the_first_overlap_alone():
    first = rotate([EndpointSecret(_secret(1))], NOW, DAY, _secret(2))

    second = rotate(first, NOW + DAY / 2, DAY, _secret(3))

    assert second == (
        EndpointSecret(_secret(3)),
        EndpointSecret(_secret(2), NOW + DAY * 1.5),
        EndpointSecret(_secret(1), NOW + DAY),
    )


def test_a_shorter_overlap_also_ends_older_secrets():
    first = rotate([EndpointSecret(_secret(1))], NOW, DAY, _secret(2))

    assert rotate(first, NOW, timedelta(0), _secret(3)) == (EndpointSecret(_secret(3)),)


def test_what_no_longer_signs_is_dropped_and_the_rest_capped():
    secrets: tuple[EndpointSecret, ...] = (EndpointSecret(_secret(0)), EndpointSecret(_secret(1), NOW))
    assert len(rotate(secrets, NOW, DAY, _secret(2))) == 2

    for seed in range(3, 20):
        secrets = rotate(secrets, NOW, DAY, _secret(seed))
    assert len(secrets) == MAX_SECRETS
    assert [_secret(19), _secret(18)] == [secret.value for secret in secrets[:2]]


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
    ],
)
def test_any_other_secret_is_refused_and_never_repeated(secret):
    for attempt in (lambda: sign("evt_1", 1, b"", [secret]), lambda: rotate([], NOW, DAY, secret)):
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
        sign(event_id, 1, b"", [_secret(1)])

    assert caught.value.field == "event_id"


def test_secrets_survive_their_sealed_form_and_do_not_print():
    secrets = rotate([EndpointSecret(_secret(1))], NOW, DAY, _secret(2))

    assert load_secrets(dump_secrets(secrets)) == secrets
    assert "whsec_" not in repr(secrets)
