"""The command line. Commands import what they need when they run, so that `--help` is quick."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape

from channels.base import Channel
from channels.errors import GatewayError
from db.errors import DatabaseError
from gateway.bench.command import bench
from gateway.dev.choices import Break, SimulatedChannel
from gateway.logs import configure_logging
from gateway.processes import run_loop
from gateway.settings import Settings, SettingsError, read_settings
from handlers.ai.files import ExtractionFileError
from handlers.runtime import product_version

app = typer.Typer(
    name="waystation",
    help="A multi-tenant messaging-channel webhook gateway: customers' messages become orders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
tenants = typer.Typer(help="Distributors: the tenants.", no_args_is_help=True)
app.add_typer(tenants, name="tenants")
keys = typer.Typer(help="Master keys: what seals credentials and secrets.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(bench, name="bench")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_errors = Console(stderr=True, highlight=False)


def _text(value: str | None) -> str | None:
    """An argument in UTF-8; bytes of another encoding could not be signed, posted or stored."""
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("this is not UTF-8") from None
    return value


def _url(value: str | None) -> str | None:
    parts = urlsplit(_text(value) or "")
    if value is not None and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise typer.BadParameter("must begin with http:// or https:// and name a host")
    return value


def _print_version(wanted: bool) -> None:
    if wanted:
        print(product_version())
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """A multi-tenant messaging-channel webhook gateway: customers' messages become orders."""


def main() -> None:
    """Runs a command; errors that a person can mend end it with one line and exit code 1, bad usage with
    2.
    """
    try:
        app()
    except SettingsError as error:
        _fail(f"{error}", "The README lists every setting.")
    except (DatabaseError, GatewayError, ExtractionFileError) as error:
        _fail(f"{error}")


def _fail(problem: str, mend: str = "") -> None:
    _errors.print(f"[red]error:[/red] {escape(problem)}", soft_wrap=True)
    if mend and mend.rstrip(".").casefold() not in problem.casefold():
        _errors.print(f"[dim]{mend}[/dim]", soft_wrap=True)
    sys.exit(1)


def _settings(**overrides: Any) -> Settings:
    settings = read_settings(**{name: value for name, value in overrides.items() if value is not None})
    configure_logging(settings.log_format)
    return settings


def _settings_here(**overrides: Any) -> Settings:
    """The settings of a command that asks providers; beside a running `waystation dev` they are its stand-ins."""
    from gateway.dev.beside import beside_dev  # noqa: PLC0415 - see the module's docstring

    settings = _settings(**overrides)
    beside = beside_dev(settings)
    if beside is None:
        return settings
    _errors.print("[yellow]note:[/yellow] `waystation dev` runs here: its stand-ins are the providers.")
    return beside


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (WAYSTATION_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (WAYSTATION_PORT).")] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Job workers beside the HTTP side; 1 shares its process.")
    ] = 0,
) -> None:
    """Listen for providers and for the management API."""
    from gateway.processes import serve as serve_until_stopped  # noqa: PLC0415 - see the module's docstring

    run_loop(serve_until_stopped(_settings_here(host=host, port=port), workers))


@app.command()
def work(
    until_stdin_ends: Annotated[
        bool, typer.Option("--until-stdin-ends", hidden=True, help="Also stop when standard input ends.")
    ] = False,
) -> None:
    """Run job workers only: AI turns, sends, webhook deliveries. Start as many as you like, anywhere."""
    from gateway.processes import work as work_until_stopped  # noqa: PLC0415 - see the module's docstring

    run_loop(work_until_stopped(_settings_here(), until_stdin_ends=until_stdin_ends))


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be applied.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema up to date. Safe to run from many places at once."""
    from gateway.admin import migrate_database  # noqa: PLC0415 - see the module's docstring

    done = run_loop(migrate_database(_settings(), dry_run=dry_run))
    uses = [use.as_json() for use in done.uses]
    if as_json:
        print(json.dumps({"applied": done.applied, "dry_run": dry_run, "keys": uses, "notes": done.notes}))
        return
    if done.applied:
        print(f"{'Would apply' if dry_run else 'Applied'}: {', '.join(done.applied)}")
    else:
        print("The schema is up to date.")
    _tell(done.notes)
    if len(done.uses) > 1:
        _tell(use.told() for use in done.uses)


@keys.command("rotate")
def rotate_keys(as_json: AsJson = False) -> None:
    """Seal with the first master key what the others of the list seal. May be stopped and run again."""
    from rich.progress import Progress  # noqa: PLC0415 - see the module's docstring

    from gateway.admin import rotate_keys as rotate_all  # noqa: PLC0415 - see the module's docstring

    with Progress(console=_errors, transient=True) as progress:
        task = progress.add_task("sealing", total=None)
        done = run_loop(
            rotate_all(
                _settings(),
                lambda now, total: progress.update(task, completed=now, total=total),
            )
        )
    if as_json:
        print(json.dumps({"resealed": done.resealed, "keys": [use.as_json() for use in done.uses]}))
        return
    print(f"Sealed {done.resealed} values with the first key.")
    _tell(use.told() for use in done.uses)


def _tell(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


@tenants.command("create")
def create_tenant(
    name: Annotated[str, typer.Option(callback=_text, help="The distributor's name.")],
    time_zone: Annotated[str, typer.Option(help="IANA time zone that its customers' days count in.")] = "UTC",
    locale: Annotated[str, typer.Option(help="Language of its customers: es, en or pt.")] = "es",
    currency: Annotated[str, typer.Option(help="ISO 4217 code of its prices.")] = "USD",
    as_json: AsJson = False,
) -> None:
    """Create a distributor with its default settings and a first API key, which is shown once."""
    from gateway.admin import create_distributor  # noqa: PLC0415 - see the module's docstring

    created = run_loop(
        create_distributor(_settings(), name=name, time_zone=time_zone, locale=locale, currency=currency)
    )
    if as_json:
        print(json.dumps(created))
        return
    print(f"distributor  {created['distributor_id']}")
    print(f"api key      {created['api_key']}")
    print("The key is shown this once; only its hash is kept.")


@app.command()
def demo(
    as_json: AsJson = False,
    broken: Annotated[
        Break | None,
        typer.Option(
            "--break", help="Break something on purpose, to see that the demo notices and names the step."
        ),
    ] = None,
) -> None:
    """Play the main job once on this machine, with its own database, and watch every step from outside."""
    from gateway.dev.demo import play_demo  # noqa: PLC0415 - see the module's docstring

    raise typer.Exit(run_loop(play_demo(as_json=as_json, broken=broken)))


@app.command()
def dev(
    host: Annotated[str | None, typer.Option(help="Address to listen on (WAYSTATION_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (WAYSTATION_PORT).")] = None,
) -> None:
    """Run everything on this machine: gateway, worker, database, stand-ins, and a demo tenant."""
    from gateway.dev.dev import dev as dev_until_stopped  # noqa: PLC0415 - see the module's docstring

    run_loop(dev_until_stopped(_settings(host=host, port=port)))


@app.command()
def simulate(
    channel: Annotated[SimulatedChannel, typer.Argument(help="The channel that the message comes by.")],
    text: Annotated[str, typer.Argument(callback=_text, help="What the customer writes.")],
    recipient: Annotated[
        str, typer.Option("--to", callback=_text, help="The tenant's address, a channel account's.")
    ],
    sender: Annotated[str, typer.Option("--from", callback=_text, help="The customer's address.")],
    media: Annotated[
        Path | None,
        typer.Option(help="A file that goes with it; other than by mail it needs `waystation dev`."),
    ] = None,
    subject: Annotated[str, typer.Option(callback=_text, help="A mail's subject.")] = "",
    reply_to: Annotated[
        str | None,
        typer.Option(
            callback=_text, help="The provider's id, or a mail's Message-ID, of the message that it answers."
        ),
    ] = None,
    distributor: Annotated[UUID | None, typer.Option(help="Whose account, if two tenants share it.")] = None,
) -> None:
    """Sign and post what the provider would post when a customer writes, to the running gateway."""
    from gateway.dev import simulate as simulation  # noqa: PLC0415 - see the module's docstring

    if subject and channel is not SimulatedChannel.EMAIL:
        raise typer.BadParameter("only mails have one", param_hint="--subject")
    wanted = simulation.Wanted(
        Channel(channel.upper()), recipient, sender, text, media, distributor, subject, reply_to
    )
    done = run_loop(simulation.simulate(_settings(), wanted))
    print(f"posted to     {done.url} as {done.provider_id}")
    print(f"answer        {done.status or 'none'} {done.answer if not done.accepted else ''}".rstrip())
    if done.message_id:
        print(f"message       {done.message_id}")
        print(f"conversation  {done.conversation_id}")
    raise typer.Exit(0 if done.accepted else 1)


@app.command()
def listen(
    forward_to: Annotated[
        str, typer.Option(callback=_url, help="A URL of this machine, such as http://localhost:3000/hook.")
    ],
    events: Annotated[
        str, typer.Option(callback=_text, help="Types or `family.*`, comma-separated; all without.")
    ] = "*",
    api_key: Annotated[
        str | None, typer.Option(callback=_text, help="The tenant's key (WAYSTATION_API_KEY).")
    ] = None,
    url: Annotated[
        str | None, typer.Option(callback=_url, help="The server (WAYSTATION_PUBLIC_URL).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Forward a tenant's events to a URL of this machine, with real signatures, until Ctrl-C."""
    from gateway.dev import listen_command  # noqa: PLC0415 - see the module's docstring

    settings = _settings(public_url=url, api_key=api_key)
    run_loop(listen_command.listen_until_stopped(settings, forward_to, events, as_json=as_json))


@app.command()
def replay(
    inbound_event_id: Annotated[
        UUID, typer.Argument(help="The stored post: `inbound_events.id`, `post` in the log of `serve`.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the difference; store nothing.")
    ] = False,
    distributor: Annotated[UUID | None, typer.Option(help="Whose post it must be.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a stored post of a provider again through today's adapter; show what differs, store what is missing."""
    from gateway import replaying  # noqa: PLC0415 - see the module's docstring

    done = run_loop(replaying.replay(_settings(), inbound_event_id, distributor, dry_run=dry_run))
    if as_json:
        print(json.dumps(replaying.as_json(done, dry_run=dry_run)))
        return
    _tell(replaying.told(done))


def _span(text: str) -> str:
    from gateway.reconciling import read_span  # noqa: PLC0415 - see the module's docstring

    try:
        read_span(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


@app.command()
def reconcile(
    account: Annotated[UUID, typer.Option(help="The channel account, `id` of /v1/channel-accounts.")],
    since: Annotated[str, typer.Option(callback=_span, help="How far back: 90m, 24h, 7d.")] = "24h",
    distributor: Annotated[UUID | None, typer.Option(help="Whose account it must be.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the provider what it received for an account, and take in what never arrived. Doubles nothing."""
    from rich.progress import Progress  # noqa: PLC0415 - see the module's docstring

    from gateway import reconciling  # noqa: PLC0415 - see the module's docstring

    with Progress("{task.description}", "{task.completed} seen", console=_errors, transient=True) as progress:
        task = progress.add_task("asking the provider", total=None)
        done = run_loop(
            reconciling.reconcile(
                _settings_here(),
                account,
                reconciling.read_span(since),
                distributor,
                lambda now: progress.update(task, completed=now.seen),
            )
        )
    if as_json:
        print(json.dumps(reconciling.as_json(done)))
        return
    _tell(reconciling.told(done))


@app.command()
def extract(
    catalogue: Annotated[
        Path, typer.Option(help="Catalogues by name, as JSON (README, Orders out of a file).")
    ],
    messages: Annotated[
        Path, typer.Option(help="One burst per line, as JSON lines; `vertical` names the catalogue.")
    ],
    out: Annotated[Path, typer.Option(help="Where predictions go, as JSON lines.")],
    engine: Annotated[str, typer.Option(help="rules, openai or hybrid.")] = "rules",
) -> None:
    """Extract orders from a file of messages; no database is needed."""
    from gateway.admin import extract_to_file  # noqa: PLC0415 - see the module's docstring

    count = extract_to_file(_settings(ai_engine=engine), catalogue, messages, out)
    _errors.print(f"{count} bursts → {out}")
