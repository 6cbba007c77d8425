"""Rules first, the model where they leave something open, and the rules again when the model fails."""

from typing import Any

import pytest

from channels.errors import (
    BadCredentials,
    BudgetExceeded,
    GatewayError,
    ModelFault,
    OutcomeUnknown,
    Throttled,
)
from handlers.ai.hybrid import FAILURE_LIMIT, PAUSE_SECONDS, HybridEngine
from handlers.ai.model import Answer, PaidFault
from handlers.ai.prompts import PROMPT_VERSION
from handlers.ai.rules import VERSION, RulesEngine
from handlers.ai.types import Intent, Usage
from tests.unit.ai_model.cases import TOKENS, ScriptedModel, engine_for, op, request, said

OPEN = "2 cajas de coca 600 y 3 de la otra coca"


def hybrid(answer: Any) -> tuple[HybridEngine, ScriptedModel]:
    model = ScriptedModel(answer)
    return HybridEngine(RulesEngine(), engine_for(model), lambda: 0.0), model


@pytest.mark.parametrize("text", ["2 cajas de coca 600", "hola buenos días", "quiero hablar con una persona"])
async def test_what_is_sure_never_leaves_the_machine(text: str):
    engine, model = hybrid(said("OTHER"))

    found = await engine.extract(request(text))

    assert model.prompts == []
    assert (found.engine, found.version, found.model, found.usage) == ("hybrid", VERSION, None, Usage())


async def test_what_is_open_is_put_to_the_model():
    engine, model = hybrid(said("BUY", op(), op("COCA-2L", "3", "3 de la otra coca")))

    found = await engine.extract(request(OPEN))

    assert len(model.prompts) == 1
    assert {operation.sku for operation in found.operations} == {"COCA-600", "COCA-2L"}
    assert (found.engine, found.version, found.model) == (
        "hybrid",
        f"{VERSION}+{PROMPT_VERSION}+{VERSION}",
        "gpt-5-mini",
    )
    assert found.usage.cost_micro_usd > 0


@pytest.mark.parametrize(
    "error", [Throttled(), OutcomeUnknown(), BadCredentials(), BudgetExceeded()], ids=lambda error: error.code
)
async def test_a_failed_model_leaves_the_rules_result(error: GatewayError):
    engine, _ = hybrid(error)
    alone = await RulesEngine().extract(request(OPEN))

    found = await engine.extract(request(OPEN))

    assert (found.operations, found.unmatched, found.intent) == (
        alone.operations,
        alone.unmatched,
        Intent.BUY,
    )
    assert found.version == f"{VERSION}+failed:{error.code}"
    assert found.model is None


async def test_an_unusable_answer_stays_on_the_bill():
    engine, _ = hybrid(Answer("", TOKENS, "req_1", ModelFault.TRUNCATED))

    found = await engine.extract(request(OPEN))

    assert found.version == f"{VERSION}+failed:model_output_invalid"
    assert found.usage == Usage(1400, 1000, 220, 565, "req_1")


async def test_an_error_of_our_own_is_not_hidden():
    class Broken:
        name = "broken"

        async def aclose(self) -> None: ...

        async def extract(self, _request: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await HybridEngine(RulesEngine(), Broken(), lambda: 0.0).extract(request(OPEN))


async def test_an_answer_without_counts_is_billed_at_the_most_it_can_be():
    model = ScriptedModel(said("OTHER"), tokens=None)

    found = await engine_for(model).extract(request("hola"))

    size = len(
        (model.prompts[0].instructions + model.prompts[0].context + model.prompts[0].messages).encode()
    )
    assert found.usage.input_tokens > size // 4
    assert found.usage.output_tokens == 4000


@pytest.mark.parametrize("fault", ModelFault)
async def test_an_unusable_answer_is_permanent_names_no_text_and_keeps_its_cost(fault: ModelFault):
    with pytest.raises(PaidFault) as caught:
        await engine_for(ScriptedModel(Answer("the customer's words", TOKENS, "req_1", fault))).extract(
            request("words")
        )

    assert (caught.value.fault, caught.value.code, caught.value.provider_code) == (
        fault,
        "model_output_invalid",
        fault,
    )
    assert caught.value.usage.cost_micro_usd == 565
    assert "words" not in f"{caught.value!r}"


async def test_malformed_json_is_not_quoted():
    with pytest.raises(PaidFault) as caught:
        await engine_for(ScriptedModel('{"intent": "my secret words"')).extract(request("hola"))

    assert "secret" not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_model_that_keeps_failing_is_left_alone_for_a_while():
    now = 1000.0
    model = ScriptedModel(OutcomeUnknown())
    engine = HybridEngine(RulesEngine(), engine_for(model), lambda: now)
    asked = request(OPEN)

    versions = [(await engine.extract(asked)).version for _ in range(FAILURE_LIMIT + 2)]

    assert versions[FAILURE_LIMIT - 1 :] == [
        f"{VERSION}+failed:outcome_unknown",
        *[f"{VERSION}+failed:paused"] * 2,
    ]
    assert len(model.prompts) == FAILURE_LIMIT
    now += PAUSE_SECONDS
    assert (await engine.extract(asked)).version.endswith("outcome_unknown")
    assert (await engine.extract(asked)).version.endswith("paused"), "one more failure pauses it again"
    now += PAUSE_SECONDS
    model.answer = said("BUY", op())
    assert (await engine.extract(asked)).model == "gpt-5-mini"
    model.answer = OutcomeUnknown()
    assert (await engine.extract(asked)).version.endswith("outcome_unknown"), "a success forgets the failures"
    assert (await engine.extract(asked)).version.endswith("outcome_unknown")


async def test_unusable_answers_pause_nothing():
    engine, model = hybrid(Answer("", TOKENS, "req_1", ModelFault.TRUNCATED))

    for _ in range(FAILURE_LIMIT + 2):
        await engine.extract(request(OPEN))

    assert len(model.prompts) == FAILURE_LIMIT + 2
