"""What each token does in an order: a word of a product, an amount, a cue, a separator, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from handlers.ai.catalogue import IndexedCatalogue, qualify
from handlers.ai.lexicon import LEXICON
from handlers.ai.numbers import Amount, is_worded
from handlers.ai.text import EMOJI, MESSAGE_BREAK, Kind, Token
from handlers.ai.types import Language


class Role(StrEnum):
    WORD = "word"  # part of a product's description
    UNIT = "unit"  # a unit word without a number
    AMOUNT = "amount"
    HALF = "half"  # "y media" behind a product, part of its amount
    CUE = "cue"  # add, remove, set, replace, double, half …
    NOT = "not"
    EACH = "each"
    CORRECTION = "correction"
    OR = "or"  # between two things of which one is wanted
    USUAL = "usual"  # "the usual": an order without open quantities
    COMMA = "comma"
    STOP = "stop"  # the end of a sentence or line
    BREAK = "break"  # the end of a message
    COLON = "colon"


@dataclass(frozen=True, slots=True)
class Piece:
    """The tokens ``start`` to ``end`` in one role; ``word`` is the normalised word or the kind of cue."""

    role: Role
    start: int
    end: int
    word: str = ""
    amount: Amount | None = None
    known: bool = True  # a word of the catalogue or of the glossary


_SEPARATORS = {
    **dict.fromkeys("\n.;?!", Role.STOP),
    **dict.fromkeys((*",/+&|·•", EMOJI), Role.COMMA),
    MESSAGE_BREAK: Role.BREAK,
    ":": Role.COLON,
}
_CONNECTORS = {
    Language.ES: frozenset({"y", "e", "i", "tambien", "and", "que_de", "como_de"}),
    Language.EN: frozenset({"and", "n", "y", "also"}),
    Language.PT: frozenset({"e", "y", "i", "tambem", "and", "que_de", "como_de"}),
}
_OR = {
    Language.ES: frozenset({"o", "u"}),
    Language.EN: frozenset({"or"}),
    Language.PT: frozenset({"ou"}),
}
_CUES = (
    "part",
    "instead",
    "replace",
    "remove_it",
    "remove",
    "raise",
    "lower",
    "more",
    "add",
    "double",
    "triple",
    "half",
    "less",
    "set",
)
_TELLING_LETTERS = frozenset("bfhjtwz")  # letters that abbreviate no function word
_ABBREVIATION = 5  # letters of a unit that may end in a point: "unid."


def is_but(norm: str, language: Language) -> bool:
    """Whether the word opens a contrast: "pero", "but", and "mas" in Portuguese alone."""
    return norm in LEXICON.cues["but"] or (norm == "mas" and language is Language.PT)


class Annotator:
    """Gives every token of a burst its role for one catalogue."""

    def __init__(self, tokens: Sequence[Token], catalogue: IndexedCatalogue, language: Language) -> None:
        self._tokens = tokens
        self._catalogue = catalogue
        self._language = language

    def pieces(self, amounts: Sequence[Amount], taken: set[int]) -> list[Piece]:
        """The pieces in order; tokens in ``taken`` and words without meaning for an order are left out."""
        starts = {amount.start: amount for amount in amounts}
        halves = dict(amount.tail for amount in amounts if amount.tail)
        found: list[Piece] = []
        position = 0
        while position < len(self._tokens):
            amount = starts.get(position)
            if amount:
                found.append(Piece(Role.AMOUNT, amount.start, amount.end, amount=amount))
                position = amount.end
                continue
            if position in halves:
                found.append(Piece(Role.HALF, position, halves[position]))
                position = halves[position]
                continue
            piece = None if position in taken else self._piece(position)
            if piece:
                found.append(piece)
            position = piece.end if piece else position + 1
        return self._without_denied_cues(found)

    def _without_denied_cues(self, pieces: Sequence[Piece]) -> list[Piece]:
        """As in "no quites la coca": it stays; "don't forget 2 cases": they are wanted; "que no sea zero": the
        verb says nothing.
        """
        kept: list[Piece] = []
        for piece in pieces:
            word = self._norm(piece.start)
            denied = bool(kept) and kept[-1].role is Role.NOT
            if denied and word in LEXICON.cues["forget"]:
                kept.pop()
            elif not denied or piece.role is not Role.CUE:
                kept.append(piece)
            elif self._is_left_alone(piece, word):
                kept[-1] = Piece(Role.CUE, kept[-1].start, piece.end, "keep")
            elif word not in LEXICON.cues["copula"]:
                kept.append(piece)
        return kept

    def _is_left_alone(self, cue: Piece, word: str) -> bool:
        """Whether a denied verb forbids a change: not "no quita", where a comma is missing in Spanish."""
        asked = self._language is Language.ES and cue.word == "remove" and not word.endswith(("s", "n"))
        return cue.word != "more" and word not in LEXICON.cues["copula"] and not asked

    def _piece(self, position: int) -> Piece | None:
        token = self._tokens[position]
        if token.kind is Kind.SEP:
            return self._separator(position)
        if token.kind is Kind.NUM:
            return Piece(Role.WORD, position, position + 1, token.norm) if is_worded(token.norm) else None
        return self._qualified(position) or self._word(position)

    def _separator(self, position: int) -> Piece | None:
        norm = self._norm(position)
        role = _SEPARATORS.get(norm)
        if role is None or (norm == "." and self._idle_point(position)):
            return None
        return Piece(role, position, position + 1)

    def _idle_point(self, position: int) -> bool:
        """A point of an abbreviated unit ("6 unid. de coca") or of a dotted line."""
        before, after = self._norm(position - 1), self._norm(position + 1)
        if "." in {before, after}:
            return True
        short = before in LEXICON.units and len(before) <= _ABBREVIATION
        return short and after in {"de", "of", "do", "da", "del"}

    def _qualified(self, position: int) -> Piece | None:
        """As in "Sin gas", "com sal": one word that tells variants apart."""
        concept = qualify(self._norm(position), self._norm(position + 1))
        if concept is None:
            return None
        return Piece(Role.WORD, position, position + 2, concept)

    def _word(self, position: int) -> Piece | None:
        norm = self._norm(position)
        if self._is_modal(position) or (norm == "no" and self._is_number_sign(position)):
            return None
        role, word = self._in_place(position) or self._role(norm)
        if role in {None, Role.UNIT, Role.COMMA} and self._is_letter_size(position):
            role, word = Role.WORD, norm
        known = role is not Role.WORD or self._is_catalogue_word(word) or word in LEXICON.concepts
        return Piece(role, position, position + 1, word, known=known) if role else None

    def _in_place(self, position: int) -> tuple[Role | None, str] | None:
        """What a word does because of the words around it, or None."""
        norm, following = self._norm(position), self._tokens[position + 1 : position + 2]
        if norm == "menos" and self._lessens(position):
            return Role.CUE, "less"
        if norm == "leave" and self._leaves_out(position):
            return Role.CUE, "remove"
        if is_but(norm, self._language):
            return (None, "") if self._denies_behind(position) else (Role.COMMA, norm)
        if norm == "an" and following and following[0].kind is Kind.NUM:
            return Role.COMMA, norm  # "and" in a hurry
        return None

    def _lessens(self, position: int) -> bool:
        """As in "menos coca", which is fewer; "menos la coca", "todo menos coca" leave it out."""
        following = self._tokens[position + 1] if position + 1 < len(self._tokens) else None
        bare = (
            following is not None and following.kind is Kind.WORD and following.norm not in LEXICON.articles
        )
        before = (token.norm for token in self._tokens[max(0, position - 3) : position])
        return bare and not any(norm in LEXICON.cues["whole"] for norm in before)

    def _denies_behind(self, position: int) -> bool:
        """As in "cebolla pero no la morada", which still speaks of the onion."""
        following = [self._norm(place) for place in range(position + 1, position + 3)]
        return any(norm in LEXICON.cues["negation"] for norm in following)

    def _is_number_sign(self, position: int) -> bool:
        """As in "foil container no 8": "no" between a product's word and a printed number."""
        before = self._tokens[position - 1] if position else None
        after = self._tokens[position + 1] if position + 1 < len(self._tokens) else None
        if before is None or after is None or before.kind is not Kind.WORD or after.kind is not Kind.NUM:
            return False
        return (
            self._is_catalogue_word(before.norm)
            and after.norm.isdigit()
            and Decimal(after.norm) in self._catalogue.numbers
        )

    def _leaves_out(self, position: int) -> bool:
        """As in "leave the ricotta out"."""
        following = [token.norm for token in self._tokens[position + 1 : position + 6]]
        return "out" in following or "off" in following

    def _is_modal(self, position: int) -> bool:
        """As in "Can we also have": the verb, not the container."""
        return self._norm(position) == "can" and self._norm(position + 1) in {
            "i",
            "we",
            "you",
            "u",
            "someone",
            "they",
            "ya",
        }

    def _role(self, norm: str) -> tuple[Role | None, str]:
        cues = LEXICON.cues
        if norm in _CONNECTORS[self._language]:
            return Role.COMMA, norm
        if norm in _OR[self._language] or norm in cues["otherwise"]:
            return Role.OR, norm
        if norm in LEXICON.quantities["usual"]:
            return Role.USUAL, norm
        if norm in cues["negation"] and not (norm in {"no", "na"} and self._language is Language.PT):
            return Role.NOT, norm
        if norm in cues["each"]:
            return Role.EACH, norm
        return self._cue(norm) or self._content(norm)

    def _cue(self, norm: str) -> tuple[Role, str] | None:
        if self._is_catalogue_word(norm):
            return None
        if norm in LEXICON.cues["rather"]:
            return Role.CUE, "replace_to"
        if norm in LEXICON.cues["correction"] and norm not in LEXICON.cues["set"]:
            return Role.CORRECTION, norm
        kind = next((name for name in _CUES if norm in LEXICON.cues[name]), None)
        return (Role.CUE, kind) if kind else None

    def _content(self, norm: str) -> tuple[Role | None, str]:
        if norm in LEXICON.units:
            return Role.UNIT, norm
        if norm in LEXICON.function or norm in LEXICON.order_verbs or norm in LEXICON.quantities["approx"]:
            return None, ""
        if norm in LEXICON.polite or norm in LEXICON.business:
            return (Role.WORD, norm) if self._is_catalogue_word(norm) else (None, "")
        return (Role.WORD, norm) if len(norm) > 1 or norm in _TELLING_LETTERS else (None, "")

    def _is_letter_size(self, position: int) -> bool:
        norm = self._norm(position)
        following = self._tokens[position + 1] if position + 1 < len(self._tokens) else None
        if (
            norm == "p"
            and not self._tokens[position].capital
            and following is not None
            and following.kind is Kind.WORD
            and following.norm not in _CONNECTORS[self._language] | {"x"}
        ):
            return False  # "p copo": para
        return len(norm) == 1 and norm.isalpha() and self._catalogue.concepts(norm) != (norm,)

    def _is_catalogue_word(self, norm: str) -> bool:
        return self._catalogue.has_word(norm)

    def _norm(self, position: int) -> str:
        return self._tokens[position].norm if 0 <= position < len(self._tokens) else ""
