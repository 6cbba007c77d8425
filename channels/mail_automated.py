"""Whether a machine wrote a mail, so that machines do not answer each other for ever.

The list is that of RFC 3834 and of what mail programs really send. A shop's own system that orders with
``Auto-Submitted: auto-generated`` is on it too: such a mail is stored for a person, and neither understood nor answered.
"""

import re
from collections.abc import Mapping

from channels.mail_tokens import token_of_address, token_of_message_id

_NO = frozenset({"", "no"})
_BULK = frozenset({"bulk", "junk", "list", "auto_reply"})
_PRESENT: Mapping[str, str] = {
    "x-autoreply": "x_autoreply",
    "x-autorespond": "x_autorespond",
    "x-autoresponder": "x_autorespond",
    "x-auto-response-suppress": "auto_response_suppress",
    "x-failed-recipients": "failed_recipients",
}
_COMMENT = re.compile(r"\([^()]{0,200}\)")  # RFC 5322 section 3.2.2
_MACHINES = re.compile(
    r"(?:mailer-?daemon|postmaster|no[-_.]?reply|do[-_.]?not[-_.]?reply|no[-_.]?responder?|nao[-_.]?respond[ae]r?|bounces?)"
    r"(?:[-_+.=][^@]*)?@"
)


def automated_reason(headers: Mapping[str, str], sender: str, message_id: str, own: str = "") -> str | None:
    """Why a machine must have written a mail; None where nothing says so. ``headers`` by names in lower case, ``own`` is
    the account's address.
    """
    return _by_headers(headers) or _by_sender(headers, sender, message_id, own)


def _by_headers(headers: Mapping[str, str]) -> str | None:
    submitted = _COMMENT.sub("", headers.get("auto-submitted", "")).partition(";")[0].strip().lower()
    if submitted not in _NO:
        return "auto_submitted"
    if headers.get("precedence", "").strip().lower() in _BULK:
        return "precedence"
    if headers.get("content-type", "").lower().startswith("multipart/report"):
        return "report"
    stated = (reason for name, reason in _PRESENT.items() if headers.get(name, "").strip().lower() not in _NO)
    is_listed = any(name.startswith("list-") for name in headers)  # RFC 2369, RFC 2919
    return next(stated, "mailing_list" if is_listed else None)


def _by_sender(headers: Mapping[str, str], sender: str, message_id: str, own: str) -> str | None:
    if headers.get("return-path", "x").replace(" ", "") in {"", "<>"}:
        return "empty_return_path"
    if _MACHINES.match(sender):
        return "machine_sender"
    if own and (sender == own or token_of_address(sender, own)):
        return "own_address"
    return "own_message_id" if token_of_message_id(message_id) else None
