"""What `waystation listen` prints: a line for each try, for people or as JSON; colours on a terminal only."""

import json
from datetime import datetime

from rich.console import Console
from rich.markup import escape

from gateway.dev.listen import Forwarded, Forwarding
from handlers.runtime import Clock


class PlainListener:
    """Lines for people; notices go to standard error."""

    def __init__(self, out: Console, errors: Console, clock: Clock) -> None:
        self._out = out
        self._errors = errors
        self._clock = clock

    def ready(self, forwarding: Forwarding, endpoint_id: str, secret: str) -> None:
        types = ", ".join(forwarding.event_types)
        self._line(f"[bold]Listening[/bold] to {escape(types)} of {escape(forwarding.server)}")
        self._line(f"  forwards to  {escape(forwarding.forward_to)}")
        self._line(f"  secret       {secret}   [dim](verify with it; shown this once)[/dim]")
        self._line(f"  endpoint     {endpoint_id}   [dim](deleted at the end: Ctrl-C)[/dim]")

    def forwarded(self, done: Forwarded) -> None:
        colour = "green" if done.taken else "red"
        outcome = done.problem if done.status is None else str(done.status)
        again = "" if done.retry_in is None else f"  [dim]again in {done.retry_in:g} s[/dim]"
        self._line(
            f"{_local_time(self._clock())}  {done.event_type}  {done.event_id}"
            f"  [{colour}]{escape(outcome)}[/{colour}]  {done.milliseconds} ms{again}"
        )

    def notice(self, text: str) -> None:
        self._errors.print(f"[yellow]note:[/yellow] {escape(text)}", soft_wrap=True)

    def _line(self, text: str) -> None:
        self._out.print(text, soft_wrap=True)


class JsonListener:
    """One JSON object a line; the first one has the secret."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def ready(self, forwarding: Forwarding, endpoint_id: str, secret: str) -> None:
        self._line(
            event="listening",
            server=forwarding.server,
            forward_to=forwarding.forward_to,
            event_types=list(forwarding.event_types),
            endpoint_id=endpoint_id,
            secret=secret,
        )

    def forwarded(self, done: Forwarded) -> None:
        self._line(
            event="forwarded",
            type=done.event_type,
            id=done.event_id,
            status=done.status,
            ms=done.milliseconds,
            problem=done.problem or None,
            retry_in=done.retry_in,
        )

    def notice(self, text: str) -> None:
        self._line(event="notice", text=text)

    def _line(self, **fields: object) -> None:
        self._out.out(json.dumps(fields), highlight=False)
        self._out.file.flush()


def _local_time(moment: datetime) -> str:
    return moment.astimezone().strftime("%H:%M:%S")
