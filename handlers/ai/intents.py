"""What a burst wants: one intent, by the first rule of the labelling that fits."""

from collections.abc import Sequence
from dataclasses import dataclass

from handlers.ai.lexicon import INTENTS, LEXICON
from handlers.ai.sentences import Purpose, Sentence
from handlers.ai.stems import fold
from handlers.ai.types import Intent

_YES_SIGNS = frozenset("👍👌✅🤝🆗✔💯🙌")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the other readers found: whether a draft is open, changed or cleared, and what was asked for."""

    has_draft: bool
    changed: bool
    asked: bool  # at least one item, matched or not
    dated: bool
    moves: bool  # a word of change stands somewhere
    places: bool  # an item was placed with a product


def decide(texts: Sequence[str], sentences: Sequence[Sentence], facts: Facts) -> tuple[Intent, float]:
    """The intent and how sure it is (0..1)."""
    words = " ".join(sentence.words for sentence in sentences)
    if any(INTENTS.any("opt_out", s.words) for s in sentences) and not facts.changed and not facts.asked:
        return Intent.OPT_OUT, 0.95
    if any(INTENTS.any("handoff", s.words) for s in sentences) and not facts.changed and not facts.places:
        return Intent.HANDOFF, 0.95
    if facts.has_draft:
        return _with_draft(texts, sentences, facts)
    if facts.asked:
        return Intent.BUY, 0.95
    if _cancels_placed(sentences):
        return Intent.CANCEL, 0.9
    return _without_order(words, sentences)


def cancels(sentences: Sequence[Sentence]) -> bool:
    """Whether a sentence drops the whole order; thanks behind it change nothing."""
    return any(
        INTENTS.any("cancel", sentence.words) or INTENTS.any("cancel", _without_thanks(sentence.words))
        for sentence in sentences
    )


def _without_thanks(words: str) -> str:
    said = words.split()
    while said and said[-1] in LEXICON.polite:
        said.pop()
    return " ".join(said)


def _refuses(sentences: Sequence[Sentence]) -> bool:
    """As in "no", "no, gracias", "não, obrigado" and nothing else."""
    said = [_without_thanks(sentence.words) for sentence in sentences]
    return any(said) and all(words in LEXICON.cues["refusal"] for words in said if words)


def _cancels_placed(sentences: Sequence[Sentence]) -> bool:
    """Whether an order that was placed before is to be dropped; what happened to one is not asked for."""
    return any(
        sentence.purpose not in {Purpose.COMPLAINT, Purpose.PAST, Purpose.AWAY}
        and INTENTS.any("cancel_placed", sentence.words)
        and not INTENTS.any("cancel_not", sentence.words)
        for sentence in sentences
    )


def _with_draft(texts: Sequence[str], sentences: Sequence[Sentence], facts: Facts) -> tuple[Intent, float]:
    if facts.changed or facts.asked or (facts.dated and facts.moves):
        return Intent.MODIFY, 0.95
    if _refuses(sentences):
        return Intent.OTHER, 0.6
    purposes = {sentence.purpose for sentence in sentences}
    agrees = any(INTENTS.any("confirm", s.words) for s in sentences) or _signs_yes(texts)
    agrees = agrees or any(INTENTS.any("lone_consent", fold(text)) for text in texts)
    agrees = agrees and not any(INTENTS.any("denial", fold(text)) for text in texts)
    asks = Purpose.QUESTION in purposes
    if agrees and not asks and Purpose.COMPLAINT not in purposes and Purpose.FOLLOW_UP not in purposes:
        return Intent.CONFIRM, 0.95
    if facts.dated and not asks:
        return Intent.MODIFY, 0.9
    if (
        agrees
        and not purposes & {Purpose.COMPLAINT, Purpose.FOLLOW_UP}
        and not any(s.asks for s in sentences)
    ):
        return Intent.CONFIRM, 0.7
    return _without_order(" ".join(s.words for s in sentences), sentences)


def _signs_yes(texts: Sequence[str]) -> bool:
    return any(sign in text for text in texts for sign in _YES_SIGNS)


def _without_order(words: str, sentences: Sequence[Sentence]) -> tuple[Intent, float]:
    purposes = {sentence.purpose for sentence in sentences}
    if INTENTS.any("other_auto", words):
        return Intent.OTHER, 0.9
    if Purpose.COMPLAINT in purposes or purposes == {Purpose.PAST}:
        return Intent.COMPLAINT, 0.9
    if Purpose.FOLLOW_UP in purposes:
        return Intent.FOLLOW_UP, 0.9
    if Purpose.QUESTION in purposes:
        greeted = all(_only_greets(s.words) for s in sentences if s.purpose is Purpose.QUESTION or s.asks)
        return (Intent.GREETING, 0.85) if greeted else (Intent.QUESTION, 0.9)
    asks = any(s.asks and INTENTS.any("question_words", s.words) for s in sentences)
    return _small_talk(words, asks=asks or INTENTS.any("question", words))


def _small_talk(words: str, *, asks: bool) -> tuple[Intent, float]:
    if asks:
        return Intent.QUESTION, 0.75
    return (Intent.GREETING, 0.85) if INTENTS.any("greeting", words) else (Intent.OTHER, 0.6)


_GREETING_LENGTH = 7


def _only_greets(words: str) -> bool:
    return (
        INTENTS.any("greeting", words)
        and len(words.split()) <= _GREETING_LENGTH
        and not INTENTS.any("price", words)
    )
