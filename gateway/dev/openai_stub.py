"""A stand-in of OpenAI's API on a port of its own: answers by a script, counts calls, keeps what it was
asked.

It speaks ``POST /v1/responses`` and ``POST /v1/chat/completions``, so that ``OPENAI_BASE_URL`` can point at
it. With an empty script every call gets ``answer``: a value, or a function of the request's body for a model
that obeys whatever it reads.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

USAGE = {
    "input_tokens": 1400,
    "input_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 0},
    "output_tokens": 220,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 1620,
}
CHAT_USAGE = {
    "prompt_tokens": 1400,
    "prompt_tokens_details": {"cached_tokens": 1000},
    "completion_tokens": 220,
    "total_tokens": 1620,
}
CREATED_AT = 1_790_000_000
NOTHING: Mapping[str, Any] = {
    "intent": "OTHER",
    "language": "es",
    "operations": [],
    "unmatched": [],
    "delivery_date": None,
    "delivery_span": None,
}


@dataclass(frozen=True, slots=True)
class Says:
    """An answer; text is sent as it is, anything else as JSON. ``usage`` False: the server does not count."""

    answer: Any = field(default_factory=lambda: NOTHING)
    usage: bool = True
    truncated: bool = False
    refused: bool = False

    @property
    def text(self) -> str:
        return self.answer if isinstance(self.answer, str) else json.dumps(self.answer)


@dataclass(frozen=True, slots=True)
class Fails:
    """An error status, with a body as OpenAI's or, if ``body`` is set, another one."""

    status: int
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Hangs:
    """No answer for as long as the caller waits; ``drops`` True: the connection is closed instead."""

    drops: bool = False


Turn = Says | Fails | Hangs
Answerer = Callable[[Mapping[str, Any]], Any]


class OpenAIStub:
    """What comes next, and what came in. ``speaks_responses`` False: that API answers 404."""

    def __init__(self, answer: Any = None, *, speaks_responses: bool = True) -> None:
        self.answer = NOTHING if answer is None else answer
        self.script: deque[Turn] = deque()
        self.requests: list[dict[str, Any]] = []
        self.replies: list[dict[str, Any]] = []
        self.speaks_responses = speaks_responses
        self.stopped = asyncio.Event()

    @property
    def calls(self) -> int:
        return len(self.requests)

    def build_app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [web.post("/v1/responses", self._responses), web.post("/v1/chat/completions", self._completions)]
        )
        app.on_shutdown.append(self._release)
        return app

    async def _release(self, _app: web.Application) -> None:
        self.stopped.set()

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        if not self.speaks_responses:
            raise web.HTTPNotFound
        return await self._turn(request, response_body)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        return await self._turn(request, completion_body)

    async def _turn(
        self, request: web.Request, make_body: Callable[[str, Says], dict[str, Any]]
    ) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        turn = self.script.popleft() if self.script else Says(self._answer(asked))
        match turn:
            case Hangs():
                return await self._hang(request, turn)
            case Fails():
                return _failure(turn)
            case Says():
                self.replies.append(make_body(asked["model"], turn))
                return web.json_response(self.replies[-1], headers={"x-request-id": f"req_{self.calls}"})

    def _answer(self, asked: Mapping[str, Any]) -> Any:
        return self.answer(asked) if callable(self.answer) else self.answer

    async def _hang(self, request: web.Request, turn: Hangs) -> web.StreamResponse:
        if not turn.drops:
            await self.stopped.wait()
        if request.transport is not None:
            request.transport.abort()
        raise web.HTTPServiceUnavailable


@asynccontextmanager
async def running_stub(stub: OpenAIStub, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serves a stub on a port of its own (0: any free one) and gives the base URL for clients."""
    runner = web.AppRunner(stub.build_app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def _failure(turn: Fails) -> web.Response:
    error = {"message": f"status {turn.status}", "type": turn.code, "param": None, "code": turn.code}
    body = json.dumps({"error": error}).encode() if turn.body is None else turn.body
    kind = "application/json" if turn.body is None else "text/html"
    return web.Response(status=turn.status, body=body, content_type=kind, headers=turn.headers)


def response_body(model: str, turn: Says) -> dict[str, Any]:
    """A body of the Responses API."""
    refusal = {"type": "refusal", "refusal": "I cannot help with that."}
    text = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
    status = "incomplete" if turn.truncated else "completed"
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": status,
        "content": [refusal if turn.refused else text],
    }
    body: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED_AT,
        "status": status,
        "model": model,
        "output": [message],
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if turn.truncated else None,
        "instructions": None,
        "metadata": {},
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "temperature": 1,
        "top_p": 1,
    }
    return {**body, "usage": USAGE} if turn.usage else body


def completion_body(model: str, turn: Says) -> dict[str, Any]:
    """A body of Chat Completions."""
    refusal = "I cannot help with that." if turn.refused else None
    message = {"role": "assistant", "content": None if turn.refused else turn.text, "refusal": refusal}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "length" if turn.truncated else "stop",
        "logprobs": None,
    }
    body: dict[str, Any] = {
        "id": "chatcmpl_1",
        "object": "chat.completion",
        "created": CREATED_AT,
        "model": model,
        "choices": [choice],
    }
    return {**body, "usage": CHAT_USAGE} if turn.usage else body
