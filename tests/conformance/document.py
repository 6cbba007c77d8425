"""docs/channels.md: the quality table and what an operator must know of each provider, made from kits and rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from channels.abilities import (
    Captions,
    Challenge,
    Deferring,
    FewFiles,
    IdempotentSends,
    MediaInPost,
    MediaSource,
    OffersButtons,
    OneTimeTokens,
    Preparing,
    Reconcilable,
    SentLookup,
    SharedHook,
    ShowsTyping,
    TextParts,
)
from channels.base import ChannelAdapter, OwnFault
from channels.credentials import described
from channels.registry import build_adapters
from tests.conformance.kit import ChannelKit
from tests.conformance.rows import ROWS

DOCUMENT = Path(__file__).parents[2] / "docs" / "channels.md"
GREEN, RED = "✓", "✗"
# (provider, row) -> GREEN, RED, or why the row does not apply
Results = Mapping[tuple[str, str], str]
_HELLO = "hello"  # no provider, and in no table of an operator

_HEAD = """# Channels

Made by `make docs` from the conformance suite (`tests/conformance`); a test fails where it drifts. Each row of the table is
checked over real HTTP against a real database and a stand-in of the provider: ✓ it holds, ✗ it does not, a number: it does
not apply, for the reason below the table. How to add a channel: [adding-a-channel.md](adding-a-channel.md).

## Quality
"""

ABILITIES: Sequence[tuple[type, str]] = (
    (Challenge, "asks by GET whether the hook is ours"),
    (SharedHook, "one post may be of several accounts: each gets only what its own secret proves"),
    (OneTimeTokens, "a token of a signature counts for one body"),
    (Preparing, "what a signature is checked with is fetched first, from the provider's own hosts only"),
    (Deferring, "a post may only tell that there is something: a job fetches it"),
    (MediaSource, "files are fetched by a job"),
    (MediaInPost, "files come in the post"),
    (TextParts, "long texts leave in parts"),
    (FewFiles, "more files than it takes at once leave in messages of their own"),
    (Captions, "a text too long to be with a file leaves before it"),
    (OffersButtons, "shows buttons under a text"),
    (ShowsTyping, "shows that an answer is being written"),
    (SentLookup, "is asked after a time-out whether it took the message, before a second try"),
    (IdempotentSends, "takes the same send twice for once"),
    (Reconcilable, "`waystation reconcile` asks it for what never arrived"),
)


def expected_results(kits: Mapping[str, ChannelKit]) -> dict[tuple[str, str], str]:
    """Every row that applies is green: what a passing suite gives."""
    return {
        (name, row.name): kit.reason_against(row.name) or GREEN for name, kit in kits.items() for row in ROWS
    }


def render(kits: Mapping[str, ChannelKit], results: Results) -> str:
    """The whole document."""
    adapters = build_adapters()
    names = [name for name in kits if name != _HELLO]
    sections = [_section(kits[name], adapters[name]) for name in names if name in adapters]
    return "\n".join([_HEAD, *_table(names, results), "", "## Providers", "", *sections])


def _table(names: Sequence[str], results: Results) -> list[str]:
    notes: dict[str, int] = {}
    lines = [f"| | {' | '.join(names)} |", f"|---|{':-:|' * len(names)}"]
    for row in ROWS:
        cells = [_cell(results[name, row.name], notes) for name in names]
        lines.append(f"| {row.promise} | {' | '.join(cells)} |")
    return [*lines, "", *(f"{number}. {reason}" for reason, number in notes.items())]


def _cell(result: str, notes: dict[str, int]) -> str:
    return result if result in {GREEN, RED} else str(notes.setdefault(result, len(notes) + 1))


def _section(kit: ChannelKit, adapter: ChannelAdapter) -> str:
    channels = ", ".join(sorted(adapter.channels))
    facts = {
        "Channels": channels,
        "Credentials": described(adapter),
        "Hooks to configure": kit.hooks,
        "On a fault of ours": _own_fault(adapter),
        "A wrong signature": f"{int(adapter.refusal_status)}",
        "Largest post": _size(adapter.body_cap),
        "Abilities": "; ".join(words for kind, words in ABILITIES if isinstance(adapter, kind))
        or "none beyond",
        "Limits": kit.limits,
        "Known gaps": kit.gaps or "none known",
    }
    lines = [f"- **{name}:** {text.rstrip('.')}." for name, text in facts.items() if text]
    return "\n".join([f"### {kit.provider}", "", *lines, ""])


def _own_fault(adapter: ChannelAdapter) -> str:
    if adapter.own_fault is OwnFault.RETRIED:
        return "503 with `Retry-After`: the provider posts it again"
    return (
        "the post is kept on disk (`.waystation/spool`, sealed), answered as taken, and stored when the database is back:"
        " the provider would not post it again, or not for long enough"
    )


def _size(count: int) -> str:
    kib = 1024
    return f"{count // kib**2} MiB" if count >= kib**2 else f"{count // kib} KiB"
