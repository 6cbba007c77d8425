"""The parts of a message: what stands between commas, connectors and cues, cut so that each part holds one
product.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handlers.ai.lexicon import LEXICON
from handlers.ai.numbers import Amount
from handlers.ai.pieces import Piece, Role
from handlers.ai.text import Token

_CONTENT = frozenset({Role.WORD, Role.AMOUNT})
_OWN = _CONTENT | {Role.UNIT, Role.USUAL, Role.HALF}
_PURE_SIZES = frozenset({"ml", "cl", "cm", "m", "oz", "inch"})


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of pieces with at most one counted product.

    ``lead`` is the separator before it; ``cue`` what it does to the order; ``rejected`` words that were
    denied ("but not the black one"); ``negated`` that all of it was denied; ``choice`` that two things
    are offered; ``tail`` the place in
    ``pieces`` where words of purpose begin ("para los pasteles").
    """

    pieces: tuple[Piece, ...]
    lead: Role
    cue: str | None = None
    more: bool = False
    another: bool = False
    negated: bool = False
    rejected: tuple[str, ...] = ()
    each: bool = False
    correction: bool = False
    usual: bool = False
    choice: bool = False
    tail: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(p.word for p in self.pieces if p.role is Role.WORD)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(p.word for p in self.pieces if p.role is Role.UNIT)

    @property
    def amounts(self) -> tuple[Amount, ...]:
        return tuple(p.amount for p in self.pieces if p.amount is not None)

    @property
    def counted(self) -> bool:
        """Whether an amount could be a quantity, not a size alone."""
        return any(not is_pure_size(amount) for amount in self.amounts)

    @property
    def start(self) -> int:
        return self.pieces[0].start

    @property
    def end(self) -> int:
        return self.pieces[-1].end


def is_pure_size(amount: Amount) -> bool:
    """Whether the amount can only be a printed size ("350 ml", "30 cm")."""
    return amount.unit in _PURE_SIZES or amount.packs or amount.code


class PartReader:
    """Cuts annotated pieces into parts; ``sizes`` are the numbers printed in the catalogue."""

    def __init__(self, tokens: Sequence[Token], sizes: frozenset[object]) -> None:
        self._tokens = tokens
        self._sizes = sizes

    def read(self, pieces: Sequence[Piece]) -> list[Part]:
        """The parts in order."""
        return [part for lead, run in _runs(pieces) for part in self._cut(lead, run)]

    def _cut(self, lead: Role, run: list[Piece]) -> Iterator[Part]:
        if _offers_choice(run):
            part = _part(lead, [piece for piece in run if piece.role is not Role.OR])
            if part is not None:
                yield replace(part, choice=True)
            return
        for stretch in self._at_cues(run):
            for span in self._at_amounts(stretch):
                part = _part(lead, span)
                if part is not None:
                    yield self._directed(replace(part, tail=self._tail(part)))
                    lead = Role.CUE  # cut inside a run, where nothing parts the two

    # --- cues -------------------------------------------------------------------------------------

    def _at_cues(self, run: list[Piece]) -> Iterator[list[Piece]]:
        current: list[Piece] = []
        to_at = self._replacement_joint(run)
        roles: set[Role] = set()  # of ``current``
        content = [i for i, piece in enumerate(run) if piece.role in _CONTENT]
        last = content[-1] if content else -1
        for position, piece in enumerate(run):
            following = run[position + 1].role if position + 1 < len(run) else None
            if to_at is not None and position == to_at:
                yield current
                current = [Piece(Role.CUE, piece.start, piece.start, "replace_to")]
                roles = {Role.CUE}
            elif (
                current
                and current[0].word == "instead"
                and Role.WORD in roles
                and self._wishes_between(current[-1], piece)
            ) or (piece.role is Role.CUE and _begins_part(roles, piece, following, more=last > position)):
                yield current  # "instead of X send Y"
                current, roles = [], set()
            current.append(piece)
            roles.add(piece.role)
        yield current

    def _wishes_between(self, one: Piece, two: Piece) -> bool:
        return any(self._tokens[i].norm in LEXICON.wish for i in range(one.end, two.start))

    def _replacement_joint(self, run: list[Piece]) -> int | None:
        """The place of the piece behind "por", "for", "to" after a replace cue, or None."""
        opened = next((i for i, p in enumerate(run) if p.role is Role.CUE and self._may_replace(p)), None)
        if opened is None:
            return None
        for place in range(opened + 2, len(run)):
            gap = range(run[place - 1].end, run[place].start)
            if any(self._tokens[i].norm in _JOINTS for i in gap) and run[place].role is not Role.CUE:
                return place
        return None

    def _may_replace(self, piece: Piece) -> bool:
        return piece.word == "replace" or self._tokens[piece.start].norm in LEXICON.cues["replace"]

    def _directed(self, part: Part) -> Part:
        """As in "Sube a 10" sets, "sube 10" adds; "baja a 3" sets, "baja 3" takes off."""
        part = self._from_to(part)
        if part.cue not in {"raise", "lower"}:
            return part
        amount = part.amounts[-1] if part.amounts else None
        before = (
            {self._tokens[i].norm for i in range(max(0, amount.start - 2), amount.start)} if amount else set()
        )
        if amount is None or before & _UP_TO:
            return replace(part, cue="set")
        return (
            replace(part, cue="less")
            if part.cue == "lower"
            else replace(part, cue="add", more=True, another=True)
        )

    def _from_to(self, part: Part) -> Part:
        """As in "mussarela de 6 pra 10 kg": the second amount is the new one."""
        at = [i for i, piece in enumerate(part.pieces) if piece.amount is not None]
        if len(at) != 2 or at[1] != at[0] + 1:  # noqa: PLR2004 - from one to the other
            return part
        one, two = part.pieces[at[0]], part.pieces[at[1]]
        gap = [self._tokens[i].norm for i in range(one.end, two.start)]
        if len(gap) != 1 or gap[0] not in {"pra", "para", "to", "por", "a"}:
            return part
        return replace(part, pieces=(*part.pieces[: at[0]], *part.pieces[at[1] :]), cue="set")

    def _tail(self, part: Part) -> int | None:
        """Where "para", "for" opens a purpose behind a complete product."""
        return self._purpose_at(part.pieces)

    def _purpose_at(self, pieces: Sequence[Piece]) -> int | None:
        """The first place with a word of purpose before it and a word and an amount somewhere earlier."""
        seen: set[Role] = set()
        for place, piece in enumerate(pieces):
            if place > 1 and seen >= _CONTENT:
                gap = range(pieces[place - 1].end, piece.start)
                if any(self._tokens[i].norm in _PURPOSE for i in gap):
                    return place
            seen.add(piece.role)
        return None

    # --- amounts ----------------------------------------------------------------------------------

    def _at_amounts(self, run: list[Piece]) -> Iterator[list[Piece]]:
        """Cut where a list has no commas: before each amount, or behind it where the first product leads."""
        purpose = self._purpose_at(run)
        countable = sum(1 for p in run if p.amount is not None and not is_pure_size(p.amount))
        counts = [
            i
            for i, piece in enumerate(run)
            if piece.amount is not None
            and not self._is_size(run, i, countable)
            and not (purpose is not None and purpose <= i and self._is_worded(piece.amount))
        ]
        counts = [i for n, i in enumerate(counts) if n == 0 or _has_words(run[counts[n - 1] + 1 : i])]
        if len(counts) <= 1:
            yield run
            return
        first = next(
            i
            for i, piece in enumerate(run)
            if piece.role is Role.AMOUNT or (piece.role in {Role.WORD, Role.UNIT} and piece.known)
        )
        cuts = counts[1:] if first == counts[0] else [i + 1 for i in counts[:-1]]
        cuts = [cut - (run[cut - 1].role is Role.NOT) for cut in cuts]  # "2 coca no 3" denies the three
        for begin, end in zip([0, *cuts], [*cuts, len(run)], strict=True):
            yield run[begin:end]

    def _is_worded(self, amount: Amount) -> bool:
        """As in "Para los pasteles de tres leches": a number word behind a purpose counts nothing."""
        return amount.unit is None and self._tokens[amount.start].norm in LEXICON.numbers

    def _is_size(self, run: list[Piece], position: int, countable: int) -> bool:
        """Whether the amount is printed; ``countable`` says how many amounts of the run could count."""
        amount = run[position].amount
        assert amount is not None
        if is_pure_size(amount):
            return True
        behind_word = position > 0 and run[position - 1].role in {Role.WORD, Role.UNIT}
        if not behind_word or amount.unit not in {None, "l", "g", "kg"} or countable < 2:  # noqa: PLR2004 - one counts, one is printed
            return False
        if amount.unit and run[position - 1].role is Role.WORD and self._tokens[amount.start - 1].norm in _OF:
            return True  # "2 coca de 2 litros", also where none has that size
        small = amount.unit is None and amount.value < _SMALLEST_SIZE
        return amount.value in self._sizes and not amount.weak and not small


_OF = frozenset({"de", "of"})
_SMALLEST_SIZE = 4  # "3 leche 1 deslactosada": so small a number without a unit rather counts


def _offers_choice(run: Sequence[Piece]) -> bool:
    """As in "2 de coca o de sprite", or behind "si no hay": nobody can tell which is wanted."""
    place = next((i for i, piece in enumerate(run) if piece.role is Role.OR), None)
    if place is None:
        return False
    behind = _has_words(run[place + 1 :])
    return behind and (_has_words(run[:place]) or run[place].word in LEXICON.cues["otherwise"])


_PURPOSE = frozenset({"para", "pra", "pro", "for", "pal", "pras", "pros", "con", "com", "with"})
_UP_TO = frozenset({"a", "to", "pra", "para", "hasta", "ate", "em"})
_JOINTS = LEXICON.cues["replace_to"]


def _runs(pieces: Sequence[Piece]) -> Iterator[tuple[Role, list[Piece]]]:
    lead: Role = Role.BREAK
    run: list[Piece] = []
    for place, piece in enumerate(pieces):
        if piece.role is Role.COLON and _labels(run, pieces, place + 1):
            continue
        if piece.role in _PARTING:
            if run:
                yield lead, run
                lead, run = piece.role, []
            elif _RANK[piece.role] > _RANK[lead]:
                lead = piece.role
            continue
        run.append(piece)
    if run:
        yield lead, run


_PARTING = frozenset({Role.COMMA, Role.STOP, Role.BREAK, Role.COLON})


def _labels(run: Sequence[Piece], pieces: Sequence[Piece], behind: int) -> bool:
    """As in "Sabritas: 50", "Garrafón: 10", "Coca 600 ml: 3": a product and nothing but its amount behind the
    colon.
    """
    told = bool(run) and all(piece.role in {Role.WORD, Role.UNIT, Role.AMOUNT} for piece in run)
    told = told and run[0].role is not Role.AMOUNT
    end = next((i for i in range(behind, len(pieces)) if pieces[i].role in _PARTING), len(pieces))
    return told and end == behind + 1 and pieces[behind].role is Role.AMOUNT


_RANK = {Role.COMMA: 0, Role.COLON: 1, Role.STOP: 2, Role.BREAK: 3}


def _begins_part(seen: set[Role], cue: Piece, following: Role | None, *, more: bool) -> bool:
    """Whether the cue opens a part of its own: ``seen`` are the roles before it, ``following`` the one behind
    it, ``more`` says that words or amounts still follow.
    """
    if Role.USUAL in seen:
        return True
    if cue.word == "part" or not seen & _CONTENT:
        return False  # "una de ellas zero"
    complete = seen >= _CONTENT
    if cue.word in {"add", "more"}:
        return complete and following is Role.AMOUNT
    if cue.word in {"set", "less", "raise", "lower"}:
        return (complete and more) or (Role.AMOUNT in seen and following is Role.AMOUNT)
    if cue.word == "half" and Role.CUE in seen:
        return complete
    return more


def _has_words(run: Sequence[Piece]) -> bool:
    return any(piece.role is Role.WORD for piece in run)


def _part(lead: Role, run: Sequence[Piece]) -> Part | None:
    if not run:
        return None
    cues = [piece.word for piece in run if piece.role is Role.CUE]
    own = [piece for piece in run if piece.role in _OWN]
    part = Part(
        pieces=tuple(own) or tuple(run),
        lead=lead,
        cue=_cue(cues),
        more="add" in cues or "more" in cues or any(p.amount and p.amount.extra for p in run),
        another="more" in cues or any(p.amount and p.amount.extra for p in run),
        each=any(piece.role is Role.EACH for piece in run),
        correction=any(piece.role is Role.CORRECTION for piece in run),
        usual=any(piece.role is Role.USUAL for piece in run),
    )
    return _deny(part, run)


def _cue(cues: Sequence[str]) -> str | None:
    """The strongest cue of a part: "quita la mitad" halves, "mejor 8 más" sets."""
    for cue in (
        "keep",
        "instead",
        "replace_to",
        "replace",
        "double",
        "triple",
        "half",
        "part",
        "less",
        "remove_it",
        "remove",
        "set",
        "raise",
        "lower",
        "add",
        "more",
    ):
        if cue in cues:
            return cue
    return None


def _deny(part: Part, run: Sequence[Piece]) -> Part:
    """Split the part at its negation: what stands before stays, what stands behind is denied."""
    denial = next((i for i, piece in enumerate(run) if piece.role is Role.NOT), None)
    if denial is None:
        return part
    if any(piece.role is Role.CORRECTION for piece in run[denial:]) and part.counted:
        return part  # "no, perdón, 8"
    if denial == 0 and len(run) > 1 and run[1].role is Role.AMOUNT and part.lead in {Role.BREAK, Role.STOP}:
        return replace(part, correction=True)  # "no 2 is plenty"
    before = [p for p in run[:denial] if p.role in {Role.WORD, Role.UNIT, Role.AMOUNT}]
    behind = [p for p in run[denial:] if p.role in {Role.WORD, Role.UNIT, Role.AMOUNT}]
    if not before or not behind:
        return replace(part, negated=True)
    rejected = tuple(p.word for p in behind if p.role is Role.WORD)
    return replace(part, pieces=tuple(before), rejected=rejected)
