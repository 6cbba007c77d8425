"""Whoever runs a handler hears why it did not end well; handlers themselves write no log."""

from collections.abc import Callable

from channels.errors import GatewayError

OnFault = Callable[[GatewayError], None]


def unheard(_fault: GatewayError) -> None:
    """For a caller who wants to know the result alone."""
