"""Form bodies (application/x-www-form-urlencoded), as bytes first: a signature covers bytes, not somebody's
decoding of them.
"""

from urllib.parse import unquote_to_bytes

FORM_TYPE = "application/x-www-form-urlencoded"

FormPairs = tuple[tuple[bytes, bytes], ...]


def form_pairs(encoded: bytes) -> FormPairs:
    """The decoded names and values in their order; blank values and repeated names are kept.

    Never raises: what is no valid percent-escape stays as it is, and the bytes need not be UTF-8.
    Source: URL Standard, "application/x-www-form-urlencoded parsing".
    """
    return tuple(_pair(segment) for segment in encoded.replace(b"+", b" ").split(b"&") if segment)


def form_text(pairs: FormPairs) -> dict[str, str]:
    """The first value of each name as text; bytes that are not UTF-8, and NUL, become U+FFFD."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(_text(name), _text(value))
    return fields


def query_of(url: str) -> bytes:
    """The raw query of a URL without its fragment; empty where there is none."""
    query = url.partition("#")[0].partition("?")[2]
    return query.encode("utf-8", "replace")


def path_of(url: str) -> str:
    """The raw path of an absolute URL, without query and fragment."""
    rest = url.partition("#")[0].partition("?")[0].partition("://")[2]
    return "/" + rest.partition("/")[2]


def _pair(segment: bytes) -> tuple[bytes, bytes]:
    name, _, value = segment.partition(b"=")
    if b"%" not in segment:  # most fields of most posts
        return name, value
    return unquote_to_bytes(name), unquote_to_bytes(value)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\x00", "\ufffd")
