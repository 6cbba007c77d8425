"""Makes the configured order-understanding engine; the only place that knows which engines there are."""

from collections.abc import Callable, Mapping

from handlers.ai.hybrid import HybridEngine, Monotonic
from handlers.ai.model import ModelOptions
from handlers.ai.openai_engine import NewMark, make_openai_engine
from handlers.ai.rules import RulesEngine
from handlers.ai.types import AIEngine


class UnknownEngine(ValueError):
    """There is no engine of that name."""


EngineFactory = Callable[[], AIEngine]


def build_engine(name: str, factories: Mapping[str, EngineFactory] | None = None) -> AIEngine:
    """The engine of that name. ``factories`` adds engines that need a client, a key or a budget; "rules"
    needs nothing.

    Raises UnknownEngine, which names the engines that there are, and what the engine's factory raises.
    """
    known: dict[str, EngineFactory] = {"rules": RulesEngine, **(factories or {})}
    if name not in known:
        raise UnknownEngine(f"unknown engine {name!r}; there are {', '.join(sorted(known))}")
    return known[name]()


def model_factories(
    options: ModelOptions, new_mark: NewMark, monotonic: Monotonic
) -> dict[str, EngineFactory]:
    """The engines that ask a model, for ``build_engine``; they raise UnknownModel.

    ``new_mark`` gives unguessable words, ``monotonic`` seconds.
    """

    def ask_model() -> AIEngine:
        return make_openai_engine(options, new_mark)

    return {"openai": ask_model, "hybrid": lambda: HybridEngine(RulesEngine(), ask_model(), monotonic)}
