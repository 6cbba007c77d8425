"""Meta's answers and error codes, turned into our errors; the codes are in ``whatsapp_cloud_errors.toml``."""

from channels.error_tables import error_types, read_meanings
from channels.errors import BadCredentials, GatewayError, RecipientThrottled, Throttled
from channels.json_posts import object_of
from channels.provider_api import ApiAnswer, error_of_status

ERRORS = read_meanings("whatsapp_cloud_errors.toml")
_ERROR_TYPES = error_types(ERRORS)
NO_SUCH_OBJECT = 33  # subcode of 100: the number's id is wrong, or the token has no right to it
# Docs, "Throughput": one message to the same user in six seconds over time; no Retry-After comes with it.
PAIR_LIMIT, PAIR_SECONDS = "131056", 6.0


def error_of_code(code: str | None) -> type[GatewayError] | None:
    """What a code of an answer or of a status means; None where the table does not know it."""
    return _ERROR_TYPES.get(code or "")


def error_of_answer(answer: ApiAnswer, *, creates: bool) -> GatewayError:
    """The error that an answer without success means. ``creates``: the request was to send a message.

    A 5xx with a code that the table knows is Meta's own word that the message failed; without one it may be of a hop
    behind which the message was taken. Nothing of Meta's own text is kept: it may quote phone numbers.
    """
    error = object_of(answer.document(), "error")
    code = error.get("code")
    known = str(code) if isinstance(code, int) and not isinstance(code, bool) else None
    if error.get("error_subcode") == NO_SUCH_OBJECT:
        return BadCredentials(provider_code=known)
    found = error_of_status(answer, known, creates=creates, kinds=_ERROR_TYPES)
    if known == PAIR_LIMIT and isinstance(found, Throttled) and found.retry_after is None:
        return RecipientThrottled(provider_code=known, retry_after=PAIR_SECONDS)
    return found
