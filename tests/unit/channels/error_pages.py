"""The pages about providers' error codes, made from the tables: ``python -m tests.unit.channels.error_pages`` writes
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from channels import email_postmark_requests, twilio_errors, whatsapp_cloud_errors
from channels.error_tables import ErrorMeaning

DOCS = Path(__file__).parents[3] / "docs"
_HEAD = """# {provider}'s error codes

Made from `channels/{source}_errors.toml` by `python -m tests.unit.channels.error_pages`.

{text}

| code | reason | concerns | meaning |
|---|---|---|---|
"""
_TWILIO = """\
A `message.failed` event has Twilio's code as `error_code` and our word for it as `reason`. The same code may come in the
answer to a send or later in a status callback. In the answer to a send, `throttled` and `provider_unavailable` are tried
again by themselves. After a callback nothing is: Twilio took the message, has told its customer's carrier of it, and only
says what became of it. 30003 and 30008 pass by themselves now and then, so that a person may send once more."""
_META = """\
A `message.failed` event has Meta's code as `error_code` and our word for it as `reason`. The same code may come in the
answer to a send or later in a status. In the answer to a send, `throttled`, `provider_unavailable` and `outcome_unknown`
are tried again by themselves. After a status nothing is: Meta took the message and says what became of it."""

_POSTMARK = """\
A `message.failed` event has Postmark's code as `error_code` and our word for it as `reason`. These codes come in the answer
to a send, where `throttled` and `provider_unavailable` are tried again by themselves. What becomes of a mail that was taken
is told by a bounce, whose type (`HardBounce`, `Blocked`, …) is the `error_code` then."""


@dataclass(frozen=True)
class ErrorPage:
    """One provider's page."""

    provider: str
    source: str
    text: str
    meanings: Mapping[str, ErrorMeaning]

    @property
    def path(self) -> Path:
        return DOCS / f"{self.source.replace('_', '-')}-errors.md"

    def render(self) -> str:
        head = _HEAD.format(provider=self.provider, source=self.source, text=self.text)
        return head + "".join(_rows(self.meanings))


PAGES = (
    ErrorPage("Twilio", "twilio", _TWILIO, twilio_errors.ERRORS),
    ErrorPage("Meta", "whatsapp_cloud", _META, whatsapp_cloud_errors.ERRORS),
    ErrorPage("Postmark", "email_postmark", _POSTMARK, email_postmark_requests.ERRORS),
)


def _rows(meanings: Mapping[str, ErrorMeaning]) -> list[str]:
    """A row per code, or per run of codes that mean the same."""
    numbered = [(code, meanings[str(code)]) for code in sorted(map(int, meanings))]
    runs = groupby(enumerate(numbered), key=lambda at: (at[1][0] - at[0], at[1][1]))
    rows = []
    for (_, known), run in runs:
        codes = [code for _, (code, _) in run]
        span = str(codes[0]) if len(codes) == 1 else f"{codes[0]}-{codes[-1]}"
        rows.append(f"| {span} | `{known.error.code}` | {known.concern} | {known.meaning} |\n")
    return rows


if __name__ == "__main__":
    for page in PAGES:
        page.path.write_text(page.render(), encoding="utf-8")
