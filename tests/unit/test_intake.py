"""Where posts are read: small ones at once, large ones beside the loop."""

import threading
from typing import Any
from uuid import UUID

import pytest

from channels.base import Channel, ChannelAccount, InboundRequest
from gateway.intake import Intake, check
from tests.fakes import START

ACCOUNT = ChannelAccount(UUID(int=1), UUID(int=2), Channel.EMAIL, "mime", "orders@acme.example", {})


class Reading:
    """An adapter that notes in which thread it does what."""

    name = "mime"

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def verify(self, *_: Any) -> None:
        self.threads.add(threading.get_ident())

    def parse(self, *_: Any) -> tuple[()]:
        self.threads.add(threading.get_ident())
        return ()


@pytest.mark.parametrize(("size", "beside"), [(0, False), (10 * 2**20, True)], ids=["small", "large"])
async def test_a_large_post_is_read_beside_the_loop(size: int, beside: bool):
    adapter: Any = Reading()
    nothing: Any = None
    post = InboundRequest("POST", "https://gw.example.test/in/mime/1", {}, bytes(size))

    await check(adapter, ACCOUNT, post)
    await Intake(nothing, {"mime": adapter}, nothing, nothing, nothing).take(ACCOUNT, post, START)

    assert (threading.get_ident() not in adapter.threads) is beside
