"""Form posts of mail providers as data: fixtures describe the fields, this encodes them as a provider would."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

FIXTURES = Path(__file__).parent / "fixtures" / "channels"
BOUNDARY = "xYzZY-waystation-0123456789"
Field = Mapping[str, Any]  # name, text or base64, and of files: filename, type; ``charset`` of the text


def fields_of(provider: str, name: str) -> list[Field]:
    """The fields of a fixture, in their order."""
    fields: list[Field] = json.loads((FIXTURES / provider / f"{name}.json").read_text(encoding="utf-8"))[
        "fields"
    ]
    return fields


def changed(fields: Sequence[Field], **texts: str | None) -> list[Field]:
    """The fields with other texts; None takes one out; underscores stand for hyphens."""
    named = {name.replace("_", "-"): text for name, text in texts.items()}
    kept = [field for field in fields if field["name"] not in named]
    return [*kept, *({"name": name, "text": text} for name, text in named.items() if text is not None)]


def content_of(field: Field) -> bytes:
    if "base64" in field:
        return base64.b64decode(field["base64"])
    text: str = field["text"]
    return text.encode(field.get("charset", "utf-8"))


def multipart(fields: Sequence[Field], boundary: str = BOUNDARY) -> tuple[dict[str, str], bytes]:
    """Headers and body of a multipart/form-data post."""
    body = b"".join(_part(field, boundary) for field in fields) + f"--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def urlencoded(fields: Sequence[Field]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a post without files."""
    pairs = [(field["name"], content_of(field)) for field in fields]
    return {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(pairs).encode()


def _part(field: Field, boundary: str) -> bytes:
    disposition = f'form-data; name="{field["name"]}"'
    if "filename" in field:
        disposition += f'; filename="{field["filename"]}"'
    lines = [f"--{boundary}", f"Content-Disposition: {disposition}"]
    if "type" in field:
        lines.append(f"Content-Type: {field['type']}")
    return "\r\n".join([*lines, "", ""]).encode() + content_of(field) + b"\r\n"
