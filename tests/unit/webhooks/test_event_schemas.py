"""What was published of events: documents that say what the models say, and receivers that are not broken."""

import copy
import json
from typing import Any

import jsonschema
import pytest

from handlers.webhooks.catalogue import build_catalogue
from tests.event_docs.__main__ import write
from tests.event_docs.compatibility import breaking_changes
from tests.event_docs.document import DOCUMENT, render_document
from tests.event_docs.schemas import FOLDER, FORMS, emitted, find_breaks, read_published, render_schema

CATALOGUE = build_catalogue()
SCHEMAS = emitted(CATALOGUE)
MEND = "Run `make docs` and commit what it wrote."


def test_no_change_breaks_receivers_without_a_new_version():
    breaks = list(find_breaks(read_published(FOLDER), SCHEMAS))

    assert not breaks, "\n".join(breaks)


def test_the_published_schemas_are_those_of_the_models():
    written = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}

    assert written == {name: render_schema(published) for name, published in SCHEMAS.items()}, MEND


def test_the_document_says_what_the_models_say():
    assert DOCUMENT.read_text(encoding="utf-8") == render_document(CATALOGUE), MEND


def test_the_document_tells_of_every_type_and_field():
    text = render_document(CATALOGUE)
    for name, entry in CATALOGUE.items():
        assert f"### {name}\n" in text
        if entry.full is not None:
            for field in entry.full.json_schema["properties"]["data"]["properties"]:
                assert f"| `{field}` |" in text
    assert "| `lines[].unit_price` | number or null |" in text


def body(**fields: Any) -> dict[str, Any]:
    """A schema of an object with these fields, all of them always there."""
    return {"type": "object", "properties": fields, "required": list(fields)}


TEXT, NUMBER, NULL = {"type": "string"}, {"type": "number"}, {"type": "null"}
WORDS = {"enum": ["A", "B"], "type": "string"}
FEWER = {"enum": ["A"], "type": "string"}
MAYBE = {"anyOf": [TEXT, NULL]}
ROW = {"type": "array", "items": body(sku=TEXT)}

# name, before, after, what is said of it (None: receivers go on)
CHANGES: list[tuple[str, Any, Any, str | None]] = [
    ("nothing", body(a=TEXT), body(a=TEXT), None),
    ("another description", body(a=TEXT), body(a=TEXT | {"description": "x", "title": "y"}), None),
    ("a new field", body(a=TEXT), body(a=TEXT, b=TEXT), None),
    ("a field gone", body(a=TEXT, b=TEXT), body(a=TEXT), "body.b is gone"),
    ("a field renamed", body(a=TEXT), body(b=TEXT), "body.a is gone"),
    ("a field now always there", {**body(a=TEXT), "required": []}, body(a=TEXT), None),
    ("a field perhaps absent", body(a=TEXT), {**body(a=TEXT), "required": []}, "body.a may be absent"),
    ("an optional field gone", {**body(a=TEXT), "required": []}, body(), "body.a is gone"),
    ("another type", body(a=NUMBER), body(a=TEXT), "body.a was number and may be string"),
    ("a narrower number", body(a=NUMBER), body(a={"type": "integer"}), None),
    ("a wider number", body(a={"type": "integer"}), body(a=NUMBER), "body.a was integer and may be number"),
    ("null where none was", body(a=TEXT), body(a=MAYBE), "body.a may be null"),
    ("null no longer", body(a=MAYBE), body(a=TEXT), None),
    ("options in another order", body(a=MAYBE), body(a={"anyOf": [NULL, TEXT]}), None),
    ("a third option", body(a=MAYBE), body(a={"anyOf": [TEXT, NULL, NUMBER]}), "body.a may be number"),
    ("a new word", body(a=FEWER), body(a=WORDS), "body.a may be 'B'"),
    ("a word less", body(a=WORDS), body(a=FEWER), None),
    ("a closed set opened", body(a=WORDS), body(a=TEXT), "body.a may be any string"),
    ("a text closed", body(a=TEXT), body(a=WORDS), None),
    ("a number closed to words", body(a=NUMBER), body(a=WORDS), "body.a was number and may be string"),
    ("a word fixed", body(a=WORDS), body(a={"const": "A"}), None),
    ("another word fixed", body(a={"const": "A"}), body(a={"const": "B"}), "body.a may be 'B'"),
    ("a format gone", body(a=TEXT | {"format": "uuid"}), body(a=TEXT), "body.a had format 'uuid'"),
    ("a format new", body(a=TEXT), body(a=TEXT | {"format": "uuid"}), None),
    (
        "another pattern",
        body(a=TEXT | {"pattern": "x"}),
        body(a=TEXT | {"pattern": "y"}),
        "body.a had pattern",
    ),
    ("a lower bound gone", body(a=NUMBER | {"minimum": 0}), body(a=NUMBER), "body.a keeps no minimum of 0"),
    (
        "a lower bound lowered",
        body(a=NUMBER | {"minimum": 0}),
        body(a=NUMBER | {"minimum": -1}),
        "keeps no minimum",
    ),
    ("a lower bound raised", body(a=NUMBER | {"minimum": 0}), body(a=NUMBER | {"minimum": 1}), None),
    (
        "an upper bound raised",
        body(a=NUMBER | {"maximum": 1}),
        body(a=NUMBER | {"maximum": 2}),
        "keeps no maximum",
    ),
    ("a field of a member gone", body(a=ROW), body(a={**ROW, "items": body()}), "body.a[].sku is gone"),
    ("members of any kind", body(a=ROW), body(a={"type": "array"}), "body.a[]"),
    (
        "an unknown assertion",
        body(a=TEXT | {"contentEncoding": "x"}),
        body(a=TEXT),
        "body.a had contentEncoding",
    ),
    (
        "a definition moved into its place",
        {**body(a={"$ref": "#/$defs/Words"}), "$defs": {"Words": WORDS}},
        body(a=WORDS),
        None,
    ),
    (
        "a definition that grew",
        {**body(a={"$ref": "#/$defs/Words"}), "$defs": {"Words": FEWER}},
        {**body(a={"$ref": "#/$defs/Words"}), "$defs": {"Words": WORDS}},
        "body.a may be 'B'",
    ),
]


@pytest.mark.parametrize(
    ("before", "after", "said"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES]
)
def test_a_change_breaks_who_relied_on_what_was_before(before, after, said):
    found = breaking_changes(before, after)

    assert bool(found) == (said is not None), found
    if said is not None:
        assert said in found[0]


VALUES: list[Any] = [None, "A", "B", "x", 0, 1, 2, -1, 1.5, True, [], [{"sku": "x"}], [{}], [1], {}]


@pytest.mark.parametrize(("before", "after"), [case[1:3] for case in CHANGES if case[3] is None])
def test_what_breaks_nobody_lets_no_new_body_be_refused_by_the_old_schema(before, after):
    """The same by a validator: of many bodies, each that the new schema takes is taken by the old."""
    old, new = jsonschema.Draft202012Validator(before), jsonschema.Draft202012Validator(after)
    bodies = [{}, *({"a": value} for value in VALUES), *({"a": value, "b": "x"} for value in VALUES)]

    taken = [told for told in bodies if new.is_valid(told)]

    assert taken
    assert all(old.is_valid(told) for told in taken)


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("form", FORMS)
def test_every_field_of_a_published_schema_is_guarded(name, form):
    """A field that is dropped from any type is found, at whatever depth."""
    schema = SCHEMAS[name][form]
    assert breaking_changes(schema, schema) == []
    for field in schema["properties"]["data"]["properties"]:
        without = copy.deepcopy(schema)
        del without["properties"]["data"]["properties"][field]
        assert breaking_changes(schema, without) == [f"body.data.{field} is gone"]
    for definition in schema.get("$defs", {}):
        without = copy.deepcopy(schema)
        without["$defs"][definition] = {"type": "boolean"}
        assert breaking_changes(schema, without)


def _published(version: int, schema: Any) -> dict[str, Any]:
    return {"type": "x.y", "schema_version": version, "full": schema, "thin": body()}


def test_a_break_is_told_with_its_mend_unless_the_version_rose():
    before, after = body(a=TEXT), body()

    (told,) = find_breaks({"x.y": _published(1, before)}, {"x.y": _published(1, after)})

    assert told.startswith("x.y, full: body.a is gone.")
    assert "`version = 2`" in told
    assert "make docs" in told
    assert not list(find_breaks({"x.y": _published(1, before)}, {"x.y": _published(2, after)}))
    assert list(find_breaks({"x.y": _published(2, before)}, {"x.y": _published(1, before)}))
    assert list(find_breaks({"x.y": _published(1, before)}, {}))


def test_the_writer_writes_nothing_that_breaks_receivers(tmp_path, capsys):
    schemas, document = tmp_path / "schemas", tmp_path / "events.md"
    assert write(schemas, document) == 0
    written = {path.stem: path.read_text(encoding="utf-8") for path in schemas.iterdir()}
    assert written.keys() == SCHEMAS.keys()
    published = json.loads(written["order.created"])
    published["full"]["properties"]["data"]["properties"]["shipping"] = {"type": "string"}
    schemas.joinpath("order.created.json").write_text(json.dumps(published), encoding="utf-8")
    document.unlink()

    assert write(schemas, document) == 1

    assert "order.created, full: body.data.shipping is gone" in capsys.readouterr().err
    assert not document.exists()
