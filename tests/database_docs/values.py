"""Values of PostgreSQL as its own client shows them."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

_HOUR, _MINUTE = 3600, 60


def show_value(value: Any) -> str:
    """One value of a row as text; NULL is empty."""
    return next((show(value) for kind, show in _SHOWN.items() if isinstance(value, kind)), str(value))


def _show_interval(value: timedelta) -> str:
    seconds = value.seconds
    clock = f"{seconds // _HOUR:02d}:{seconds % _HOUR // _MINUTE:02d}:{seconds % _MINUTE:02d}"
    days = f"{value.days} day{'s' if value.days != 1 else ''}" if value.days else ""
    return " ".join(part for part in (days, clock if seconds or not days else "") if part)


_SHOWN: Mapping[type, Callable[[Any], str]] = MappingProxyType(
    {
        type(None): lambda _: "",
        bool: lambda value: "t" if value else "f",
        datetime: lambda value: f"{value:%Y-%m-%d %H:%M:%S}+00",
        timedelta: _show_interval,
        list: lambda value: "{" + ",".join(map(show_value, value)) + "}",
        bytes: lambda value: "\\x" + value.hex(),
    }
)
