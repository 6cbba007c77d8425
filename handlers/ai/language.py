"""Which of the three languages a burst is written in, by its function words."""

from collections.abc import Sequence

from handlers.ai.lexicon import LEXICON
from handlers.ai.text import Kind, Token
from handlers.ai.types import Language

_MARKS = {
    Language.ES: "ñ¿¡",
    Language.PT: "ãõçêâ",
}  # letters and signs that one language alone uses
_MARK_WEIGHT = 1.5
_ENDINGS = {
    Language.ES: (
        "aron",
        "ieron",
        "cion",
        "illo",
        "illa",
        "ito",
        "ita",
        "itos",
        "itas",
        "enme",
        "eme",
        "alo",
        "ame",
    ),
    Language.PT: (
        "aram",
        "eram",
        "iram",
        "agem",
        "agens",
        "inho",
        "inha",
        "eiro",
        "eira",
        "lho",
        "lha",
        "nho",
        "nha",
        "oes",
        "cao",
    ),
}  # of folded words, four letters and more
_ENDING_WEIGHT = 0.5
_ENDING_MIN = 5
_GOODS_WEIGHT = 0.5


def detect_language(texts: Sequence[str], tokens: Sequence[Token], hint: Language) -> Language:
    """The language with most function words and own letters; the hint where nothing tells."""
    scores = {language: _marks(language, texts) for language in Language}
    for token in tokens:
        if token.kind is Kind.WORD:
            for word in token.norm.split("_"):
                _count(scores, word)
    best = max(scores.values())
    leaders = [language for language in Language if scores[language] == best]
    return hint if best == 0 or (hint in leaders and len(leaders) > 1) else leaders[0]


def _marks(language: Language, texts: Sequence[str]) -> float:
    letters = _MARKS.get(language, "")
    return _MARK_WEIGHT * sum(text.casefold().count(letter) for text in texts for letter in letters)


def _count(scores: dict[Language, float], word: str) -> None:
    speakers = [language for language in Language if word in LEXICON.language_words[language.value]]
    for language in speakers:
        scores[language] += 1 / len(speakers)
    if not speakers:
        _count_goods(scores, word)
    for language, endings in _ENDINGS.items():
        if not speakers and len(word) >= _ENDING_MIN and word.endswith(endings):
            scores[language] += _ENDING_WEIGHT


def _count_goods(scores: dict[Language, float], word: str) -> None:
    """Names of goods decide where nothing else does: a catalogue has names of other languages too."""
    for language in Language:
        scores[language] += _GOODS_WEIGHT * (word in LEXICON.language_goods[language.value])
