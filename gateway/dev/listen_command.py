"""`waystation listen` as a command: who is asked with which key, where lines go, when it ends."""

import sys
from pathlib import Path

from rich.console import Console

from gateway.dev.beside import running_dev
from gateway.dev.listen import Forwarding, Listener, NotListening, listen
from gateway.dev.listen_show import JsonListener, PlainListener
from gateway.processes import stop_signals
from gateway.services import HOME
from gateway.settings import Settings
from handlers.runtime import utc_now

_NO_KEY = (
    "An API key is needed: `--api-key` or WAYSTATION_API_KEY. `waystation tenants create` makes a tenant with a key;"
    " in the folder of a running `waystation dev` its own is used."
)


async def listen_until_stopped(
    settings: Settings, forward_to: str, events: str, *, as_json: bool, home: Path = HOME
) -> None:
    """Listens until a signal; raises NotListening, or NotPossibleHere for a state of `dev` that is not ours."""
    forwarding = _forwarding(settings, forward_to, events, home)
    async with stop_signals() as stop:
        await listen(forwarding, _listener(as_json=as_json), stop, utc_now)


def _forwarding(settings: Settings, forward_to: str, events: str, home: Path) -> Forwarding:
    types = [piece.strip() for piece in events.split(",") if piece.strip()]
    if settings.api_key is not None:
        key = settings.api_key.get_secret_value()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise NotListening(
                "The API key holds characters that no key has: a line break, a space, an accent."
            )
        return Forwarding(settings.base_url, forward_to, types, key)
    dev = running_dev(home)
    if dev is None or not dev.api_key:
        raise NotListening(_NO_KEY)
    return Forwarding(settings.public_url or dev.gateway_url, forward_to, types, dev.api_key)


def _listener(*, as_json: bool) -> Listener:
    out = Console(file=sys.stdout, highlight=False)
    if as_json:
        return JsonListener(out)
    return PlainListener(out, Console(stderr=True, highlight=False), utc_now)
