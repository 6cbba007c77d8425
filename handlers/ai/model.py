"""The port to a language model: one prompt out, one answer with its bill in; no engine knows a provider's
API.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from channels.errors import ModelFault, ModelOutputInvalid
from handlers.ai.prices import Tokens
from handlers.ai.types import Usage

# Of an answer's tokens, reasoning included: 40 lines need about 1,600.
MAX_OUTPUT_TOKENS = 4000
OPENAI_URL = "https://api.openai.com/v1"
TIMEOUT_SECONDS = 20.0
_BYTES_PER_TOKEN = 3  # below the true ratio of es, en and pt, so that an estimate is never under the bill
_PROMPT_MARGIN = 200


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model answers, where. Without ``base_url`` it is OpenAI's own address."""

    api_key: str = field(repr=False)
    model: str
    base_url: str | None = None
    timeout: float = TIMEOUT_SECONDS

    @property
    def url(self) -> str:
        return self.base_url or OPENAI_URL

    @property
    def is_openai(self) -> bool:
        """Whether OpenAI itself answers and bills, at its address or one of its regions'."""
        host = urlsplit(self.url).hostname or ""
        return host == "api.openai.com" or host.endswith(".api.openai.com")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: our instructions, our data, the customer's words apart from both, and the
    answer's schema.
    """

    instructions: str
    context: str
    messages: str
    schema: dict[str, Any]

    @property
    def most_tokens(self) -> Tokens:
        """The most that an answer can have consumed, for servers that do not say."""
        size = len(f"{self.instructions}{self.context}{self.messages}{self.schema}".encode())
        return Tokens(input=size // _BYTES_PER_TOKEN + _PROMPT_MARGIN, output=MAX_OUTPUT_TOKENS)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``tokens`` is None where the server does not count; with a ``fault`` the text is no
    answer.
    """

    text: str
    tokens: Tokens | None
    request_id: str | None
    fault: ModelFault | None = None


class ModelClient(Protocol):
    """Asks one model. Raises ``Temporary`` or ``Permanent`` of ``channels.errors`` where no answer came."""

    async def ask(self, prompt: Prompt) -> Answer: ...

    async def aclose(self) -> None: ...


class PaidFault(ModelOutputInvalid):
    """The model's answer cannot be used, and was paid for."""

    def __init__(self, fault: ModelFault, usage: Usage) -> None:
        super().__init__(fault)
        self.usage = usage
