"""OpenAI's SDK behind the model port. Imported only when an engine needs it: the SDK takes a second to load.

Responses API first (https://developers.openai.com/api/reference/resources/responses); a compatible server
that has no such route answers 404 and is spoken to by Chat Completions from then on. Bodies are read by our
own models: the SDK builds its types without checking them, and loses the usage of a truncated answer in its
parsing helper.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import openai
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from channels.errors import (
    BadCredentials,
    GatewayError,
    ModelFault,
    OutcomeUnknown,
    Permanent,
    ProviderUnavailable,
    Temporary,
    Throttled,
)
from handlers.ai.model import MAX_OUTPUT_TOKENS, Answer, ModelOptions, Prompt
from handlers.ai.prices import Tokens

_SCHEMA_NAME = "order_operations"
_SERVER_FAULT = 500
_MAX_WAIT = 3600.0
_CODE = re.compile(r"[a-z0-9_.-]{1,64}")
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
Reply = Callable[[Prompt], Awaitable[Answer]]


class OpenAIClient:
    """One model at one address; no retries of its own, since each would be billed and none is recorded."""

    def __init__(self, options: ModelOptions, effort: str | None = None) -> None:
        self._sdk = openai.AsyncOpenAI(
            api_key=options.api_key, base_url=options.url, max_retries=0, timeout=options.timeout
        )
        self._options = options
        self._effort = effort
        self._reply: Reply = self._respond

    async def aclose(self) -> None:
        await self._sdk.close()

    async def ask(self, prompt: Prompt) -> Answer:
        """One answer within the time-out, all of it counted: the SDK's own counts the silence between two
        bytes.
        """
        try:
            async with asyncio.timeout(self._options.timeout):
                return await self._reply(prompt)
        except TimeoutError:
            raise OutcomeUnknown("The model gave no answer in time.") from None
        except openai.APIError as error:
            # Without its cause: the SDK's message quotes the server's, which may quote the key or the prompt.
            raise translate(error) from None

    # --- Responses ------------------------------------------------------------------------------------------

    async def _respond(self, prompt: Prompt) -> Answer:
        try:
            raw = await self._sdk.responses.with_raw_response.create(**self._response_request(prompt))
        except openai.NotFoundError as error:
            if self._options.is_openai or error.code == "model_not_found":
                raise
            self._reply = self._complete
            return await self._reply(prompt)
        return read_response(raw.content, raw.request_id)

    def _response_request(self, prompt: Prompt) -> dict[str, Any]:
        form = {"type": "json_schema", "name": _SCHEMA_NAME, "strict": True, "schema": prompt.schema}
        request: dict[str, Any] = {
            "model": self._options.model,
            "instructions": prompt.instructions,
            "input": [
                {"role": "user", "content": prompt.context},
                {"role": "user", "content": prompt.messages},
            ],
            "text": {"format": form},
            "max_output_tokens": MAX_OUTPUT_TOKENS,
            "store": False,
        }
        return request if self._effort is None else {**request, "reasoning": {"effort": self._effort}}

    # --- Chat Completions -----------------------------------------------------------------------------------

    async def _complete(self, prompt: Prompt) -> Answer:
        raw = await self._sdk.chat.completions.with_raw_response.create(**self._chat_request(prompt))
        return read_completion(raw.content, raw.request_id)

    def _chat_request(self, prompt: Prompt) -> dict[str, Any]:
        form = {"name": _SCHEMA_NAME, "strict": True, "schema": prompt.schema}
        return {
            "model": self._options.model,
            "messages": [
                {"role": "system", "content": prompt.instructions},
                {"role": "user", "content": prompt.context},
                {"role": "user", "content": prompt.messages},
            ],
            "response_format": {"type": "json_schema", "json_schema": form},
            # The older name: the only one that all compatible servers know.
            "max_tokens": MAX_OUTPUT_TOKENS,
        }


# --- what comes back ----------------------------------------------------------------------------------------


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class _InputDetails(_Read):
    cached_tokens: int = Field(default=0, ge=0)
    cache_write_tokens: int = Field(default=0, ge=0)


class _ResponseUsage(_Read):
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    input_tokens_details: _InputDetails | None = None


class _Content(_Read):
    type: str = ""
    text: str | None = None


class _Item(_Read):
    type: str = ""
    content: list[_Content] | None = None


class _Reason(_Read):
    reason: str | None = None


class _Response(_Read):
    status: str | None = None
    incomplete_details: _Reason | None = None
    output: list[_Item] = Field(default_factory=list)


class _ChatUsage(_Read):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)
    prompt_tokens_details: _InputDetails | None = None


class _ChatMessage(_Read):
    content: str | None = None
    refusal: str | None = None


class _Choice(_Read):
    finish_reason: str | None = None
    message: _ChatMessage


class _Completion(_Read):
    choices: list[_Choice] = Field(min_length=1)


class _ResponseBill(_Read):
    usage: _ResponseUsage | None = None


class _ChatBill(_Read):
    usage: _ChatUsage | None = None


def read_response(body: bytes, request_id: str | None) -> Answer:
    """The answer in a Responses body: the usage first, for it is owed whatever else the body holds."""
    tokens = _response_tokens(body)
    try:
        response = _Response.model_validate_json(body)
    except ValidationError:
        return Answer("", tokens, request_id, ModelFault.MALFORMED)
    contents = [part for item in response.output if item.type == "message" for part in item.content or ()]
    text = "".join(part.text or "" for part in contents if part.type == "output_text")
    return Answer(text, tokens, request_id, _response_fault(response, contents))


def _response_fault(response: _Response, contents: list[_Content]) -> ModelFault | None:
    reason = response.incomplete_details.reason if response.incomplete_details else None
    if reason == "content_filter" or any(part.type == "refusal" for part in contents):
        return ModelFault.REFUSED
    if response.status == "incomplete":
        return ModelFault.TRUNCATED
    return None if response.status in {"completed", None} else ModelFault.MALFORMED


def _response_tokens(body: bytes) -> Tokens | None:
    try:
        usage = _ResponseBill.model_validate_json(body).usage
    except ValidationError:
        return None
    if usage is None:
        return None
    details = usage.input_tokens_details or _InputDetails()
    return Tokens(usage.input_tokens, details.cached_tokens, details.cache_write_tokens, usage.output_tokens)


def read_completion(body: bytes, request_id: str | None) -> Answer:
    """The answer in a Chat Completions body."""
    tokens = _chat_tokens(body)
    try:
        choice = _Completion.model_validate_json(body).choices[0]
    except ValidationError:
        return Answer("", tokens, request_id, ModelFault.MALFORMED)
    return Answer(choice.message.content or "", tokens, request_id, _choice_fault(choice))


def _choice_fault(choice: _Choice) -> ModelFault | None:
    if choice.message.refusal or choice.finish_reason == "content_filter":
        return ModelFault.REFUSED
    return ModelFault.TRUNCATED if choice.finish_reason == "length" else None


def _chat_tokens(body: bytes) -> Tokens | None:
    try:
        usage = _ChatBill.model_validate_json(body).usage
    except ValidationError:
        return None
    if usage is None:
        return None
    details = usage.prompt_tokens_details or _InputDetails()
    return Tokens(
        usage.prompt_tokens, details.cached_tokens, details.cache_write_tokens, usage.completion_tokens
    )


# --- what goes wrong ----------------------------------------------------------------------------------------


def translate(error: openai.APIError) -> GatewayError:
    """The house's error for the SDK's, without any of the server's words but its error code."""
    code = _safe_code(error.code)
    if isinstance(error, openai.APITimeoutError):
        return OutcomeUnknown("The model gave no answer in time.")
    if isinstance(error, openai.APIConnectionError):
        # Only a connection that was never made tells that the request was not taken.
        unsent = isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout))
        return ProviderUnavailable() if unsent else OutcomeUnknown("The connection to the model broke.")
    if isinstance(error, openai.APIStatusError):
        return _translate_status(error, code)
    return Temporary("The model's server broke off its answer.", provider_code=code)


def _translate_status(error: openai.APIStatusError, code: str | None) -> GatewayError:
    status = error.status_code
    wait = retry_after(error.response.headers)
    named = code or str(status)
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        if code == "insufficient_quota" or error.type == "insufficient_quota":
            return Permanent(
                "The quota of the model's account is used up.", provider_code="insufficient_quota"
            )
        return Throttled(provider_code=named, retry_after=wait)
    if status >= _SERVER_FAULT:
        return ProviderUnavailable(provider_code=named, retry_after=wait)
    if status in {httpx2.codes.REQUEST_TIMEOUT, httpx2.codes.CONFLICT}:
        return Temporary(provider_code=named, retry_after=wait)
    if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
        return BadCredentials(provider_code=named)
    return Permanent("The model's server refuses the request.", provider_code=named)


def _safe_code(code: str | None) -> str | None:
    """The server's error code if it has the form of one; a message in its place is not passed on."""
    return code if code is not None and _CODE.fullmatch(code) else None


def retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds to wait as the server names them, an hour at most; model servers do not use the date form."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if _SECONDS.fullmatch(value):
            return min(float(value) / divisor, _MAX_WAIT)
    return None
