"""Twilio's answers and error codes, turned into our errors; the codes are in ``twilio_errors.toml``."""

from channels.error_tables import error_types, read_meanings
from channels.errors import GatewayError
from channels.provider_api import ApiAnswer, error_of_status

SERVER_FAULT = 500
ERRORS = read_meanings("twilio_errors.toml")
_ERROR_TYPES = error_types(ERRORS)


def error_of_code(code: str | None) -> type[GatewayError] | None:
    """What a code of an answer or of a status callback means; None where the table does not know it."""
    return _ERROR_TYPES.get(code or "")


def error_of_answer(answer: ApiAnswer, *, creates: bool) -> GatewayError:
    """The error that an answer without success means. ``creates``: the request was to send a message.

    A 5xx may come from a hop behind which the message was already taken, whatever code it carries, so a send is then
    of unknown outcome. Nothing of Twilio's own text is kept: it quotes phone numbers.
    """
    code = answer.document().get("code")
    known = _ERROR_TYPES if answer.status < SERVER_FAULT else None
    return error_of_status(answer, str(code) if isinstance(code, int) else None, creates=creates, kinds=known)
