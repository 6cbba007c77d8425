"""Which signals end a process in order, and which one its starter has taken away."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from gateway.processes import stop_signals


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_each_of_them_asks_to_stop(number: signal.Signals):
    signal.signal(number, signal.SIG_DFL)
    async with stop_signals() as stop:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)


async def test_a_hang_up_that_nohup_ignores_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    async with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)  # heard after the other one
        await asyncio.wait_for(stop.wait(), 5)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


async def test_an_interrupt_is_heard_though_a_shell_ignores_it_in_the_background():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    async with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(stop.wait(), 5)
