"""The rules engine: grammar, lexicons and an indexed catalogue; no key, no network, only CPU."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from handlers.ai.catalogue import IndexedCatalogue
from handlers.ai.confidence import doubted
from handlers.ai.dates import DateMention, DateReader
from handlers.ai.halves import HalfReader
from handlers.ai.intents import Facts, cancels, decide
from handlers.ai.item import Item
from handlers.ai.items import Assembler
from handlers.ai.language import detect_language
from handlers.ai.lexicon import LEXICON
from handlers.ai.noise import noise_positions
from handlers.ai.numbers import COUNTING, NumberReader
from handlers.ai.parts import Part, PartReader
from handlers.ai.pieces import Annotator, Piece, Role
from handlers.ai.readings import Reader
from handlers.ai.sentences import Purpose, Sentence, read_sentences
from handlers.ai.text import MESSAGE_BREAK, Kind, Token, tokenize
from handlers.ai.turning import read_turns
from handlers.ai.types import Band, Extraction, ExtractionRequest, Intent, Operation, OperationKind
from handlers.ai.understanding import Understanding
from handlers.ai.wanted import was_wanted
from handlers.ai.working import Change, WorkingOrder

VERSION = "rules-1"
# A last resort against texts made to keep the engine busy: 60 lines of an order are 500 tokens, while 4,000
# characters can be 4,000. What is beyond is not read; it is reported as unmatched, so that a person reads it.
MAX_TOKENS = 600
_CUT_REACH = 40  # tokens: so far back a cut looks for the end of a line, and then for a comma
_SHORT_SENTENCE = 5
_CHANGING = (
    LEXICON.cues["set"] | LEXICON.cues["replace"] | LEXICON.cues["instead"] | {"move", "pasa", "passa"}
) - {"fica", "just", "only"}
_PARTING = LEXICON.cues["correction"] | LEXICON.cues["negation"] | {"mejor", "melhor"}
_TRAILING = frozenset().union(*(LEXICON.cues[name] for name in ("less", "more", "remove", "besides"))) - {
    "y",
    "e",
}
_DATED = frozenset({Intent.BUY, Intent.MODIFY, Intent.CONFIRM})


class RulesEngine:
    """The default engine. Stateless; one instance serves all tenants."""

    @property
    def name(self) -> str:
        return "rules"

    async def extract(self, request: ExtractionRequest) -> Extraction:
        """What the burst means; see ``understand``. In a thread, so that other turns go on meanwhile."""
        return await asyncio.to_thread(understand, request)

    async def aclose(self) -> None:
        """Nothing is open."""


def understand(request: ExtractionRequest) -> Extraction:
    """The intent, operations, unmatched spans and delivery day of one burst. Never raises on any text."""
    catalogue = (
        request.catalogue
        if isinstance(request.catalogue, IndexedCatalogue)
        else IndexedCatalogue(request.catalogue.products)
    )
    read = _read(request, catalogue)
    cancelled = bool(request.draft) and _drops_all(read)
    whole = cancelled and not read.rest  # a cancellation that goes on is none yet
    operations = _removals(request) if whole else () if cancelled else _operations(request, read)
    unmatched = () if whole else _unmatched(request, read)
    day = None if whole else _delivery_day(read)
    facts = Facts(
        bool(request.draft),
        whole or read.order.changed(),
        bool(operations or unmatched),
        day is not None,
        _moves(read),
        bool(operations),
    )
    intent, sureness = (Intent.CANCEL, 0.95) if whole else decide(request.texts, read.sentences, facts)
    confidence = min((operation.confidence for operation in operations), default=sureness)
    return Extraction(
        engine="rules",
        version=VERSION,
        intent=intent,
        language=read.language,
        operations=operations,
        unmatched=unmatched,
        delivery_date=day if intent in _DATED else None,
        confidence=confidence,
    )


def _read(request: ExtractionRequest, catalogue: IndexedCatalogue) -> Understanding:
    written = tokenize(request.texts)
    tokens = written[: _cut(written)]
    language = detect_language(request.texts, tokens, request.language_hint)
    days = tuple(DateReader(tokens, language, request.now.date()).read_all())
    taken = noise_positions(tokens) | {i for day in days for i in range(day.start, day.end)}
    amounts = HalfReader(tokens, catalogue.has_word).add_to(NumberReader(tokens, language).read_all(taken))
    sentences = tuple(read_sentences(tokens, frozenset(amount.start for amount in amounts)))
    pieces = Annotator(tokens, catalogue, language).pieces(amounts, taken)
    parts = PartReader(tokens, frozenset(catalogue.numbers)).read(_ordering(pieces, sentences))
    reader = Reader(catalogue, tokens, language)
    near = frozenset(line.sku for line in request.draft)
    items = Assembler(reader, near).assemble(parts, _questions(parts, sentences))
    order = WorkingOrder.open(catalogue, reader, request.draft)
    turns = read_turns(tokens, language)
    read = Understanding(tuple(tokens), "", language, sentences, days, tuple(items), order, turns)
    plain = any(item.reading.amount is not None and not item.reading.amount.weak for item in items)
    meant = [item for item in items if item.asked and (plain or _is_meant(item, read))]
    order.apply(turns.mark(meant, sentences) if request.draft else meant)
    return replace(
        read, rest=_rest(request, written, len(tokens), ordered=bool(order.touched or order.failed))
    )


def _cut(tokens: Sequence[Token]) -> int:
    """Where the reading ends: with the last line, else the last separator before MAX_TOKENS."""
    if len(tokens) <= MAX_TOKENS:
        return len(tokens)
    near = range(MAX_TOKENS, MAX_TOKENS - _CUT_REACH, -1)
    lines = (place for place in near if tokens[place].norm in {"\n", MESSAGE_BREAK})
    separators = (place for place in near if tokens[place].kind is Kind.SEP)
    return next(lines, next(separators, MAX_TOKENS))


def _rest(request: ExtractionRequest, tokens: Sequence[Token], begin: int, *, ordered: bool) -> str:
    """The words that were not read, where they may belong to an order."""
    unread = tokens[begin:]
    counts = any(token.kind is Kind.NUM or token.norm in COUNTING for token in unread)
    says = counts or (ordered and any(token.kind is Kind.WORD for token in unread))
    return span_text(request.texts, tokens, begin, len(tokens)).strip() if says else ""


def _ordering(pieces: Sequence[Piece], sentences: Sequence[Sentence]) -> list[Piece]:
    """Without the words of sentences that are for others, such as an automatic mail."""
    purposes = {position: s.purpose for s in sentences for position in range(s.start, s.end)}
    return [
        p for p in pieces if purposes.get(p.start) is not Purpose.AWAY or p.role in {Role.STOP, Role.BREAK}
    ]


def _questions(parts: Sequence[Part], sentences: Sequence[Sentence]) -> frozenset[int]:
    """Where the parts begin that ask for nothing."""
    purposes = {position: s.purpose for s in sentences for position in range(s.start, s.end)}
    return frozenset(part.start for part in parts if purposes.get(part.start) not in {None, Purpose.ORDER})


def _moves(read: Understanding) -> bool:
    turned = any(day.start > turn for day in read.days for turn in read.turns.all)
    return turned or any(token.norm in _CHANGING for token in read.tokens)


def _is_meant(item: Item, read: Understanding) -> bool:
    """An article alone ("faz um doce de leite melhor") orders only beside a wish, a plain amount or in a
    short message.
    """
    amount = item.reading.amount
    if amount is None or not amount.weak or item.cue is not None or item.more:
        return True
    sentence = read.sentence_of(item)
    return sentence is None or sentence.wishes or len(sentence.words.split()) <= _SHORT_SENTENCE


# --- cancel ---------------------------------------------------------------------------------------


def _drops_all(read: Understanding) -> bool:
    """A sentence cancels, and nothing in the burst names a product to keep, change or drop by itself."""
    named = any(item.reading.entry is not None or item.counted for item in read.items)
    return cancels(read.sentences) and not named


def _removals(request: ExtractionRequest) -> tuple[Operation, ...]:
    return tuple(Operation(OperationKind.REMOVE, line.sku, None, 0.95, Band.AUTO) for line in request.draft)


# --- what comes out -------------------------------------------------------------------------------


def _operations(request: ExtractionRequest, read: Understanding) -> tuple[Operation, ...]:
    doubt = _doubtful(request, read)
    return tuple(_operation(request, read, change, doubt=doubt) for change in read.order.changes())


def _doubtful(request: ExtractionRequest, read: Understanding) -> bool:
    """Whether part of the burst stayed unexplained: a correction, words left over beside a draft, or words
    beyond what is read.
    """
    if read.rest:
        return True
    corrected = any(item.correction for item in read.items)
    left_over = [
        item for item in read.items if item.reading.entry is None and (item.wish.words or item.wish.heard)
    ]
    unsettled = bool(read.order.failed or left_over)
    return corrected or (unsettled and (bool(request.draft) or len(request.texts) > 1))


def _operation(request: ExtractionRequest, read: Understanding, change: Change, *, doubt: bool) -> Operation:
    (start, end), made = read.order.touched[change.sku]
    made = doubted(made, doubt=doubt)
    span = span_text(request.texts, read.tokens, start, end)
    return Operation(change.kind, change.sku, change.quantity, made.value, made.band, span, dict(made.parts))


def _unmatched(request: ExtractionRequest, read: Understanding) -> tuple[str, ...]:
    order = read.order
    open_items = [i for i in (*order.failed, *order.unknown) if was_wanted(i, read)] + order.unclear
    places = [_place(item, read) for item in open_items]
    if request.draft:
        places += read.turns.held_back(read.tokens, read.items, read.sentences)
    spans = [
        span for start, end in sorted(places) if (span := span_text(request.texts, read.tokens, start, end))
    ]
    return tuple(dict.fromkeys([*spans, *([read.rest] if read.rest else [])]))


def _place(item: Item, read: Understanding) -> tuple[int, int]:
    """The words of an open item; of a change that nobody could tell with its verb: "quítale una", "one less"."""
    begin, end = item.start, item.end
    if item not in read.order.unclear:
        return begin, end
    while begin and begin - 1 not in read.turns.all and _leads(read.tokens[begin - 1]):
        begin -= 1
    while end < len(read.tokens) and read.tokens[end].norm in _TRAILING:
        end += 1
    return begin, end


def _leads(token: Token) -> bool:
    cue = any(token.norm in words for words in LEXICON.cues.values())
    return token.kind is Kind.WORD and (cue or token.norm in LEXICON.function)


def span_text(texts: Sequence[str], tokens: Sequence[Token], start: int, end: int) -> str:
    """The words of the tokens as they stand in the one message that holds most of them."""
    inside = tokens[start:end]
    if not inside:
        return ""
    index = max(
        {t.text for t in inside}, key=lambda text: sum(t.end - t.start for t in inside if t.text == text)
    )
    own = [t for t in inside if t.text == index and t.end > t.start]
    return texts[index][own[0].start : own[-1].end] if own else ""


def _delivery_day(read: Understanding) -> date | None:
    """The one day that the ordering sentences name; two days are none."""
    purposes = {position: s.purpose for s in read.sentences for position in range(s.start, s.end)}
    days = [m for m in read.days if purposes.get(m.start) in {None, Purpose.ORDER, Purpose.QUESTION}]
    if len({m.day for m in days}) > 1:
        days = _corrected_days(read, days)
    named = {m.day for m in days}
    return named.pop() if len(named) == 1 else None


def _corrected_days(read: Understanding, days: Sequence[DateMention]) -> list[DateMention]:
    """As in "Thursday, no, Friday": the last day stands where a correction or a negation parts it from the
    one before.
    """
    kept = list(days)
    for one, two in itertools.pairwise(days):
        between = [t.norm for t in read.tokens[one.end : two.start]]
        if LEXICON.cues["instead"] & set(between) and two in kept:
            kept.remove(two)
            continue
        if any(word in _PARTING for word in between) and one in kept:
            kept.remove(one)
    return kept
