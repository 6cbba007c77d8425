"""The page about Twilio's error codes, made from the table: ``python -m tests.unit.channels.twilio_error_page`` writes it."""

from pathlib import Path

from channels.twilio_errors import ERRORS

PAGE = Path(__file__).parents[3] / "docs" / "twilio-errors.md"
_HEAD = """# Twilio's error codes

Made from `channels/twilio_errors.toml` by `python -m tests.unit.channels.twilio_error_page`.

A `message.failed` event has Twilio's code as `error_code` and our word for it as `reason`. The same code may come in the
answer to a send or later in a status callback. In the answer to a send, `throttled` and `provider_unavailable` are tried
again by themselves. After a callback nothing is: Twilio took the message, has told its customer's carrier of it, and only
says what became of it. 30003 and 30008 pass by themselves now and then, so that a person may send once more.

| code | reason | concerns | meaning |
|---|---|---|---|
"""


def render() -> str:
    """The page."""
    rows = (
        f"| {code} | `{known.error.code}` | {known.concern} | {known.meaning} |\n"
        for code, known in sorted(ERRORS.items())
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
