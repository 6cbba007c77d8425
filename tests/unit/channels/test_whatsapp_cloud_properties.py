"""No post of Meta's, however wrong inside, is more than malformed, and one wrong place in it costs nothing else."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import Ignored, InboundMessage, StatusUpdate
from channels.errors import MalformedPayload
from channels.whatsapp_cloud import WhatsAppCloudAdapter
from channels.whatsapp_cloud_events import STATUSES
from tests.unit.channels.whatsapp_cloud_cases import FIXTURES, account, fixture, post, post_bytes


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[]",
        b'"whatsapp_business_account"',
        b'{"object": "page", "entry": []}',
        b'{"object": "whatsapp_business_account"}',
        b'{"object": "whatsapp_business_account", "entry": {}}',
        b'{"object": "whatsapp_business_account", "entry": [NaN]}',
        b'{"object": "whatsapp_business_account", "entry": [1e999]}',
        b'{"object": "whatsapp_business_account", "entry": ' + b"[" * 100 + b"]" * 100 + b"}",
        b"[" * 100_000,
    ],
)
def test_what_is_not_the_envelope_is_malformed(body):
    with pytest.raises(MalformedPayload):
        WhatsAppCloudAdapter().parse(account(), post_bytes(body))


@pytest.mark.parametrize("entry", [[], [1], [{}], [{"changes": 1}], [{"changes": []}]])
def test_an_envelope_with_nothing_in_it_is_ignored(entry):
    items = WhatsAppCloudAdapter().parse(
        account(), post({"object": "whatsapp_business_account", "entry": entry})
    )

    assert items == (Ignored("A post without a change."),)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
FORMS = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FIXTURES.glob("*.json"))]


def places(value, path=()):
    yield path
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, key))


def with_other(document, path, value):
    if not path:
        return value
    changed = dict(document) if isinstance(document, dict) else list(document)
    changed[path[0]] = with_other(document[path[0]], path[1:], value)
    return changed


@given(document=JSON)
def test_no_document_raises_anything_but_malformed(document):
    with suppress(MalformedPayload):
        WhatsAppCloudAdapter().parse(
            account(), post({"object": "whatsapp_business_account", "entry": document})
        )


@given(data=st.data(), form=st.sampled_from(FORMS), value=JSON)
def test_one_wrong_place_in_a_real_post_never_raises_below_the_envelope(data, form, value):
    path = data.draw(st.sampled_from([path for path in places(form) if len(path) > 1]))

    items = WhatsAppCloudAdapter().parse(account(), post(with_other(form, path, value)))

    assert items
    for item in items:
        json.dumps(getattr(item, "metadata", {}), allow_nan=False).encode()
        getattr(item, "text", "").encode()


@given(word=st.text())
def test_only_the_documented_words_are_statuses(word):
    document = fixture("status__sent")
    document["entry"][0]["changes"][0]["value"]["statuses"][0]["status"] = word

    (item,) = WhatsAppCloudAdapter().parse(account(), post(document))

    assert isinstance(item, StatusUpdate) == (word.lower() in STATUSES)


@given(value=JSON, place=st.integers(0, 2))
def test_a_wrong_message_costs_nothing_but_itself(value, place):
    document = fixture("batch__two_numbers")
    messages = document["entry"][0]["changes"][0]["value"]["messages"]
    messages.insert(place, value)

    items = WhatsAppCloudAdapter().parse(account(), post(document))

    texts = [item.text for item in items if isinstance(item, InboundMessage)]
    assert [text for text in texts if text in {"one", "two", "three"}] == ["one", "two", "three"]
