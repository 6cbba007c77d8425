"""The benchmarks' receiver: what it answers and remembers, whatever the pieces that requests come in."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from gateway.bench.show import StepFailed
from gateway.bench.sink import Connection, Memory
from gateway.bench.sinks import Arrival, SinkReport

POST = b"POST /ok/1 HTTP/1.1\r\nHost: x\r\nWebhook-Id: evt_1\r\nContent-Length: 5\r\n\r\nhello"


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data


def received(*pieces: bytes) -> tuple[Memory, Wire]:
    memory, wire = Memory(), Wire()
    ticks = iter(range(1, 1_000))
    connection = Connection(memory, lambda: float(next(ticks)))
    connection.connection_made(wire)
    for piece in pieces:
        connection.data_received(piece)
    return memory, wire


@pytest.mark.parametrize(
    "pieces",
    [
        (POST,),
        (POST[:10], POST[10:]),
        (POST[:-3], POST[-3:]),
        tuple(POST[at : at + 1] for at in range(len(POST))),
    ],
    ids=["whole", "head in two", "body in two", "byte by byte"],
)
def test_a_post_is_kept_at_its_first_byte_and_answered_once(pieces: Sequence[bytes]):
    memory, wire = received(*pieces)

    assert memory.arrivals == [(1.0, "/ok/1", "evt_1")]
    assert wire.written.count(b"HTTP/1.1 200 OK") == 1
    assert memory.samples[0]["body"] == "hello"


def test_posts_on_one_connection_are_told_apart():
    memory, wire = received(POST, POST + POST)

    assert memory.count() == {"count": 3, "held": 0}
    assert wire.written.count(b"200 OK") == 3


def test_a_hole_takes_and_never_answers():
    memory, wire = received(POST.replace(b"/ok/1", b"/hang/1"))

    assert memory.count() == {"count": 0, "held": 1}
    assert wire.written == b""


def test_the_benchmark_asks_what_came():
    memory, wire = received(POST, b"GET /control/report HTTP/1.1\r\nHost: x\r\n\r\n")

    told = json.loads(wire.written.rpartition(b"\r\n\r\n")[2])
    assert told["arrivals"] == [[1.0, "/ok/1", "evt_1"]]
    assert memory.count()["count"] == 1


def test_what_came_is_forgotten_when_asked():
    memory, _ = received(POST, b"GET /control/reset HTTP/1.1\r\n\r\n")

    assert memory.report() == {"count": 0, "held": 0, "arrivals": [], "samples": []}


def test_a_duplicate_is_an_event_at_a_path_again():
    arrivals = [Arrival(1, "/a", "evt_1"), Arrival(2, "/b", "evt_1"), Arrival(3, "/a", "evt_1")]

    assert SinkReport(arrivals, [], 0).duplicates == 1


@pytest.mark.parametrize(("signed", "came", "genuine"), [("{}", "{}", True), ("{}", '{"a":1}', False)])
def test_a_sample_is_genuine_or_ends_the_benchmark(signed: str, came: str, genuine: bool):
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("evt_1", now, signed)
    head = f"POST /a HTTP/1.1\r\nwebhook-id: evt_1\r\nwebhook-timestamp: {int(now.timestamp())}\r\nwebhook-signature: {signature}"
    report = SinkReport([], [{"path": "/a", "head": head, "body": came}], 0)

    if genuine:
        assert report.verify({"/a": secret}) == 1
    else:
        with pytest.raises(StepFailed, match="no genuine signature"):
            report.verify({"/a": secret})
