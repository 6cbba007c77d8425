"""Meta's error codes, turned into our errors: a table, and the one function that reads an answer.

Source of the codes: Meta docs, "WhatsApp error codes", and the Graph API's own ("Handling errors"). The same code may
come in the answer to a send or later in a status.
"""

from collections.abc import Mapping

from channels.errors import (
    BadCredentials,
    ContentRefused,
    GatewayError,
    InvalidRecipient,
    OptedOut,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    WindowClosed,
)
from channels.json_posts import object_of
from channels.provider_api import ApiAnswer, error_of_status

CODES: Mapping[type[GatewayError], frozenset[int]] = {
    OptedOut: frozenset({131050}),
    WindowClosed: frozenset({131047}),
    InvalidRecipient: frozenset(
        {131021, 131026, 131030}  # ourselves, undeliverable, not on a test number's list
        | {131062, 137000}  # no user ids for this kind of message, another identity than was agreed
    ),
    ContentRefused: frozenset(
        {100, 131008, 131009, 131051, 131063, 135000}  # the form of the message
        | {131049, 130472}  # kept back by Meta for this user; not to be tried again for a day at least
        | {132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016, 132068}  # templates and flows
    ),
    Throttled: frozenset({4, 613, 80007, 130429, 131048, 131056, 131064, 132069, 133016}),
    # Meta itself says that it failed, so the message was not taken.
    ProviderUnavailable: frozenset({131000, 131016, 131052, 131053, 131057, 133004}),
    # "An unknown error": the request may have been wrong, or Meta's server
    OutcomeUnknown: frozenset({1, 2}),
    BadCredentials: frozenset(
        {0, 3, 10, 190, *range(200, 300)}  # the token, and what it may do
        | {
            33,
            131005,
            131037,
            131042,
            131045,
            133010,
        }  # the number: deleted, no right, name, payment, registration
        | {368, 130497, 131031}  # the account is blocked, or for this country
    ),
}
ERRORS: Mapping[str, type[GatewayError]] = {
    str(code): kind for kind, codes in CODES.items() for code in codes
}
NO_SUCH_OBJECT = 33  # subcode of 100: the number's id is wrong, or the token has no right to it
# Docs, "Throughput": one message to the same user in six seconds over time; no Retry-After comes with it.
PAIR_LIMIT, PAIR_SECONDS = "131056", 6.0


def error_of_code(code: str | None) -> type[GatewayError] | None:
    """What a code of an answer or of a status means; None where the table does not know it."""
    return ERRORS.get(code or "")


def error_of_answer(answer: ApiAnswer, *, creates: bool) -> GatewayError:
    """The error that an answer without success means. ``creates``: the request was to send a message. Nothing of
    Meta's own text is kept: it may quote phone numbers.
    """
    error = object_of(answer.document(), "error")
    code = error.get("code")
    known = str(code) if isinstance(code, int) and not isinstance(code, bool) else None
    if error.get("error_subcode") == NO_SUCH_OBJECT:
        return BadCredentials(provider_code=known)
    found = error_of_status(answer, known, creates=creates, kinds=ERRORS)
    if isinstance(found, Throttled) and known == PAIR_LIMIT and found.retry_after is None:
        return Throttled(provider_code=known, retry_after=PAIR_SECONDS)
    return found
