"""Forms of credentials that several providers share: checks that name the field, never its value."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from channels.base import ChannelAdapter

# No blanks: what a copy and paste may have added shows.
SECRET = re.compile(r"[!-~]{1,512}", re.ASCII)


def check_names(credentials: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ValueError where there is a field that the provider has not got. It names those that there are: what was
    given as a name may be a secret.
    """
    names = set(known)
    if not credentials.keys() <= names:
        raise ValueError(f"credentials: unknown field; there are {', '.join(sorted(names))}")


def matching(credentials: Mapping[str, Any], name: str, form: re.Pattern[str] = SECRET) -> str:
    """The text of a field that must be there; raises ValueError that names it."""
    value = credentials.get(name)
    if value is None:
        raise ValueError(f"{name}: missing")
    if not isinstance(value, str) or not form.fullmatch(value):
        wanted = ": ASCII signs, no blanks and no line break" if form is SECRET else ""
        raise ValueError(f"{name}: not of the expected form{wanted}")
    return value


def optional(credentials: Mapping[str, Any], name: str, form: re.Pattern[str] = SECRET) -> dict[str, str]:
    """The field by its name, or nothing; raises ValueError that names it."""
    return {name: matching(credentials, name, form)} if credentials.get(name) is not None else {}


def list_of(credentials: Mapping[str, Any], name: str, form: re.Pattern[str] = SECRET) -> list[str]:
    """The texts of a list, empty where there is none; raises ValueError that names it."""
    values = credentials.get(name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(
        isinstance(value, str) and form.fullmatch(value) for value in values
    ):
        raise ValueError(f"{name}: not a list of the expected form")
    return list(values)


def login(credentials: Mapping[str, Any], name: str) -> dict[str, dict[str, str]]:
    """A ``{username, password}`` object by its name, or nothing; also taken as ``username:password``, as it stands in a
    URL. Raises ValueError that names it.
    """
    value = credentials.get(name)
    if value is None:
        return {}
    if isinstance(value, str) and ":" in value:
        value = dict(zip(("username", "password"), value.split(":", 1), strict=True))
    if not isinstance(value, Mapping) or value.keys() != {"username", "password"}:
        raise ValueError(f"{name}: has a username and a password")
    # A colon would end the name in basic authorisation (RFC 7617 section 2).
    user = matching(value, "username", re.compile(r"[!-9;-~]{1,128}", re.ASCII))
    return {name: {"username": user, "password": matching(value, "password")}}


def described(adapter: ChannelAdapter) -> str:
    """What an adapter's docstring says of its credentials, in Markdown and on one line: each field in backticks. It is
    told in the API's document and in docs/channels.md, so it is written once, where the fields are checked.
    """
    text = " ".join((adapter.validate_credentials.__doc__ or "").split()).replace("``", "`")
    return re.sub(r"[;.] [Rr]aises ValueError[^.]*\.$", ".", text)
