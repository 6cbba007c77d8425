"""Header texts of mails: encoded words, charsets and addresses, read so that nothing a stranger wrote raises an error."""

import binascii
import codecs
import re
from collections.abc import Iterable
from email.utils import getaddresses

from channels.addresses import EMAIL_LIMIT, normalise_email
from channels.errors import MalformedPayload

# RFC 2047 section 2; each class ends at the next question mark, so that no text takes more than one pass
_WORD = re.compile(r"=\?([A-Za-z0-9_.:+-]{1,40})(?:\*[A-Za-z0-9-]{0,20})?\?([bBqQ])\?([^?]*)\?=", re.ASCII)
_BETWEEN = re.compile(r"[ \t\r\n]+", re.ASCII)
# What a database's text or a log line cannot hold: control characters but tab and line ends, and halves of pairs.
_UNCLEAN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BARE_ADDRESS = re.compile(r"[^\s<>()\[\],;:\"@]{1,64}@[^\s<>()\[\],;:\"@]{1,190}")
# Codecs that only look like charsets (idna, punycode, unicode_escape, …) are slow or do more than decode.
_CHARSETS = re.compile(
    r"(?:utf-(?:7|8(?:-sig)?|16(?:-[bl]e)?|32(?:-[bl]e)?)|ascii|iso8859-\d+|cp\d+|koi8-[rtu]|mac-[a-z]+|gb2312|gbk|gb18030"
    r"|hz|big5(?:hkscs)?|shift_jis\w*|euc_\w+|iso2022_\w+|johab|tis-620|ptcp154|kz1048|hp-roman8)",
    re.ASCII,
)
ADDRESS_HEADER_LIMIT = 64 * 1024
MOST_ADDRESSES = 500


def clean(text: str) -> str:
    """The text without what cannot be stored; line ends are those of Unix."""
    return _UNCLEAN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str) -> str:
    """The text on one line, each run of blanks a single one."""
    return " ".join(clean(text).split())


def decoded(content: bytes, charset: str | None) -> str:
    """The text of bytes: by the charset they are said to be in; where that is none, or is ASCII and they are not, as
    UTF-8 or else Windows-1252. What cannot be read is replaced. Never raises.
    """
    name = _codec(charset)
    if name is None or name == "ascii":
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            name = "cp1252"
    try:
        return content.decode(name, "replace")
    except (UnicodeError, ValueError):
        return content.decode("latin-1")


def header_text(value: str) -> str:
    """A header's value as a person reads it; ``value`` may hold raw bytes as surrogate escapes. Never raises."""
    return one_line(_decode_words(_without_escapes(value)))


def bare_addresses(values: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """(name, address in lower case) of each address in the headers, in their order. Never raises."""
    found: list[tuple[str, str]] = []
    for value in values:
        found.extend(_addresses(_without_escapes(value)[:ADDRESS_HEADER_LIMIT]))
        if len(found) >= MOST_ADDRESSES:
            break
    return tuple(found[:MOST_ADDRESSES])


def mail_address(text: str) -> str | None:
    """The address in the form in which addresses are compared; None where it is none."""
    try:
        return normalise_email(text)
    except MalformedPayload:
        bare = text.strip().lower()
        return (
            bare
            if len(bare) <= EMAIL_LIMIT and _BARE_ADDRESS.fullmatch(bare) and bare.isprintable()
            else None
        )


def _addresses(value: str) -> Iterable[tuple[str, str]]:
    try:
        pairs = getaddresses([" ".join(value.split())])
    except (ValueError, IndexError, TypeError, AttributeError, RecursionError):  # of the stdlib's own parser
        pairs = [("", address) for address in _BARE_ADDRESS.findall(value)]
    for name, text in pairs:
        address = mail_address(text)
        if address is not None:
            yield header_text(name), address


def _codec(charset: str | None) -> str | None:
    try:
        name = codecs.lookup((charset or "").strip("\"' ")).name
    except (LookupError, ValueError):
        return None
    return name if _CHARSETS.fullmatch(name) else None


def _without_escapes(value: str) -> str:
    """The text of raw bytes in a header (RFC 6532, or a sender that knows no rule)."""
    if value.isascii():
        return value
    try:
        return decoded(value.encode("utf-8", "surrogateescape"), None)
    except UnicodeEncodeError:
        return clean(value)


def _decode_words(text: str) -> str:
    """Neighbours of one charset are joined before they are decoded: some programs cut characters in two."""
    pieces: list[str] = []
    waiting, charset, end = b"", "", 0
    for word in _WORD.finditer(text):
        between = text[end : word.start()]
        apart = not (waiting and _BETWEEN.fullmatch(between)) and bool(between or not waiting)
        if apart or word[1].lower() != charset:
            pieces += [decoded(waiting, charset), between if apart else ""]
            waiting, charset = b"", word[1].lower()
        waiting += _word_bytes(word[2], word[3])
        end = word.end()
    return "".join((*pieces, decoded(waiting, charset), text[end:]))


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    return decode_base64(raw)


_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
)


def decode_base64(raw: bytes) -> bytes:
    """What can be read of base64, however broken. Never raises."""
    letters = raw.translate(None, _NOT_BASE64)
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
