"""The long-running commands: serve and work. SIGINT, SIGTERM and SIGHUP drain; a second one leaves at once."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import structlog
from aiohttp import web

from db.embedded import EmbeddedEvent
from db.wake import listening
from gateway.app import build_app
from gateway.ports import free_port
from gateway.reconciling import reconcile_schedule
from gateway.schedules import keeping_schedules, schedules_with
from gateway.services import HOME, Services, open_services
from gateway.settings import PREFIX, Settings, SettingsError

Result = TypeVar("Result")

_CHILD_GRACE_SECONDS = 30.0
_LINGER_SECONDS = (
    2.0  # after an early answer, such as 401: what the client still sends is read, so that it reads ours
)
_LONGEST_LINE = 32_768  # bytes of a request line
_log = structlog.get_logger("waystation")


@asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Event]:
    """An event that the first SIGINT, SIGTERM or SIGHUP sets; the second one gets its default meaning back.

    A hang-up that is ignored stays so: whoever starts us with `nohup` wants to leave the terminal.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(number)

    # Only that one: a shell ignores SIGINT for what it starts in the background, and a stop must work there, too.
    hung_up = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else ()
    numbers = (signal.SIGINT, signal.SIGTERM, *hung_up)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def listening_app(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serves an application while the block runs; gives the port, which differs from ``port`` if that was 0.

    At the end it takes no new connections and lets running requests finish.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=False,
        shutdown_timeout=20,
        lingering_time=_LINGER_SECONDS,
        # A message posted over GET is in the request line: 1,600 characters of emoji are 19,200 bytes there.
        max_line_size=_LONGEST_LINE,
        logger=logging.getLogger("waystation.http"),
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            mend = "--port or WAYSTATION_PORT names another"
            raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}; {mend}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def with_known_port(settings: Settings) -> Settings:
    """Port 0 replaced by a free one: the URLs that providers get have it in them, before anything listens."""
    if settings.port:
        return settings
    try:
        return settings.model_copy(update={"port": free_port(settings.host)})
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.host}: {error.strerror}") from error


async def serve(settings: Settings, workers: int, home: Path = HOME) -> None:
    """The HTTP side until a signal; one worker shares this process, more of them run as child processes."""
    settings = with_known_port(settings)
    async with AsyncExitStack() as stack:
        stop = await stack.enter_async_context(stop_signals())
        services = await stack.enter_async_context(open_services(settings, home, on_event=log_database_event))
        inside: list[asyncio.Task[None]] = []
        if workers == 1:
            inside.append(await stack.enter_async_context(working(services)))
        port = await stack.enter_async_context(
            listening_app(build_app(services), settings.host, settings.port)
        )
        if workers > 1:
            await stack.enter_async_context(_child_workers(workers, settings))
        _log.info("serving", host=settings.host, port=port, public_url=settings.base_url, workers=workers)
        await _until_stopped(stop, *inside)
        _log.info("draining")


async def work(settings: Settings, home: Path = HOME, *, until_stdin_ends: bool = False) -> None:
    """One worker until a signal, or until standard input ends; what it has begun is finished first."""
    if not settings.port and settings.public_url is None:
        raise SettingsError(
            f"{PREFIX}PUBLIC_URL is needed with {PREFIX}PORT=0: a worker names it to providers"
        )
    async with (
        stop_signals() as stop,
        _ending_with(sys.stdin.fileno(), stop) if until_stdin_ends else contextlib.nullcontext(),
        open_services(settings, home, on_event=log_database_event) as services,
        notifying(services),
        working(services) as worker,
    ):
        _log.info("working")
        await _until_stopped(stop, worker)
        _log.info("draining")


@asynccontextmanager
async def working(services: Services) -> AsyncIterator[asyncio.Task[None]]:
    """A worker with its schedules beside the block, woken by other processes' commits; drains at the end."""
    worker = services.build_worker()
    schedules = {**schedules_with(services.media.store), **reconcile_schedule(services)}
    async with (
        listening(services.dsn, worker.wake),
        keeping_schedules(services.runtime, schedules) as stop_schedules,
    ):
        task = asyncio.create_task(worker.run(), name="worker")
        try:
            yield task
        finally:
            stop_schedules.set()
            worker.stop()
            await task


@asynccontextmanager
async def _ending_with(pipe: int, stop: asyncio.Event) -> AsyncIterator[None]:
    """Sets ``stop`` when the pipe's other end is closed: its process has ended, however that was."""
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        if not os.read(pipe, 1024):
            loop.remove_reader(pipe)
            stop.set()

    loop.add_reader(pipe, on_readable)
    try:
        yield
    finally:
        loop.remove_reader(pipe)


async def _until_stopped(stop: asyncio.Event, *workers: asyncio.Task[None]) -> None:
    """Until a signal, or until a worker has ended by a fault: a process must not live on half dead."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({stopped, *workers}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


@asynccontextmanager
async def notifying(services: Services) -> AsyncIterator[None]:
    """Sends wake-ups while the block runs."""
    task = asyncio.create_task(services.notifier.run(), name="notifier")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # that is what we asked for
            await task


@asynccontextmanager
async def _child_workers(count: int, settings: Settings) -> AsyncIterator[None]:
    """``count`` processes of `waystation work`; one that dies is started again."""
    keepers = [
        asyncio.create_task(_keep_worker(settings), name=f"worker-{number}") for number in range(count)
    ]
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _keep_worker(settings: Settings) -> None:
    # Options of this command that the environment does not hold: callbacks are to come to where we listen.
    environment = {**os.environ, f"{PREFIX}PUBLIC_URL": settings.base_url}
    while True:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            "work",
            "--until-stdin-ends",
            env=environment,
            stdin=asyncio.subprocess.PIPE,  # its end is how the child hears that we were killed
        )
        try:
            code = await child.wait()
        except asyncio.CancelledError:
            await _end_child(child)
            raise
        _log.error("worker ended, starting another", code=code)
        await asyncio.sleep(1)


async def _end_child(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), _CHILD_GRACE_SECONDS)
    except TimeoutError:
        child.kill()
        await child.wait()


def log_database_event(event: EmbeddedEvent) -> None:
    """Tells what happens to the embedded PostgreSQL."""
    _log.info("embedded postgresql", happened=event.kind, detail=event.detail)


def run_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs a command on uvloop where the platform has it (a third more requests per second, measured)."""
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
