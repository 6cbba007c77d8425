"""Addresses: phone numbers as E.164 without a prefix, e-mail addresses in lower case.

Two doors: ``normalise`` for what a person typed (strict), ``provider_address`` for what a provider vouches
for (short codes, alphanumeric senders and WhatsApp user ids are kept, since refusing them would lose a
message).
"""

import re

import phonenumbers

from channels.base import Channel
from channels.errors import MalformedPayload

WHATSAPP_PREFIX = "whatsapp:"
E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)  # ITU-T E.164: at most 15 digits, no leading zero
OLD_MEXICAN_MOBILE = re.compile(r"\+521[0-9]{10}", re.ASCII)
SHORT_CODE = re.compile(r"[0-9]{3,8}", re.ASCII)
SENDER_NAME = re.compile(r"[A-Za-z0-9 +_&-]{1,11}", re.ASCII)  # alphanumeric sender id, at most 11 characters
USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}", re.ASCII)  # WhatsApp business-scoped user id
DOMAIN_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
LOCAL_PART_LIMIT = 64  # RFC 5321 section 4.5.3.1
EMAIL_LIMIT = 254


def normalise(channel: Channel, text: str) -> str:
    """The canonical form of an address that a person or an integrator gave; raises MalformedPayload."""
    return normalise_email(text) if channel is Channel.EMAIL else normalise_phone(text)


def normalise_phone(text: str) -> str:
    """E.164 of a number in international form; prefixes, spaces and punctuation are taken off.

    Raises MalformedPayload where it has no country code or a length that its country does not use.
    """
    bare = text.strip().removeprefix(WHATSAPP_PREFIX).strip()
    international = "+" + bare[2:] if bare.startswith("00") else bare
    try:
        number = phonenumbers.parse(international)
    except phonenumbers.NumberParseException:
        raise MalformedPayload("The address is not a phone number in international form.") from None
    plain = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if number.extension or not (
        phonenumbers.is_possible_number(number) or OLD_MEXICAN_MOBILE.fullmatch(plain)
    ):
        raise MalformedPayload("The address is not a possible phone number.")
    return plain


def is_same_party(one: str, other: str) -> bool:
    """Whether two addresses are one party's: equal, but for the 1 that Mexico's mobile numbers had until 2019 and
    that WhatsApp still writes in some of them.
    """
    return _without_old_prefix(one) == _without_old_prefix(other)


def _without_old_prefix(address: str) -> str:
    return f"+52{address[4:]}" if OLD_MEXICAN_MOBILE.fullmatch(address) else address


def normalise_email(text: str) -> str:
    """The address in lower case, its domain as ASCII (IDNA); raises MalformedPayload.

    The local part is case-sensitive by RFC 5321 section 2.4, yet no known mailbox host tells cases apart, and
    a customer who types another case is the same customer.
    """
    local, at, domain = text.strip().rpartition("@")
    if not at or not _is_local_part(local):
        raise MalformedPayload("The address is not an e-mail address.")
    address = f"{local.lower()}@{_ascii_domain(domain)}"
    if len(address) > EMAIL_LIMIT:
        raise MalformedPayload("The e-mail address is too long.")
    return address


def provider_address(channel: Channel, text: str) -> str:
    """What a provider calls a party, without the channel's prefix; raises MalformedPayload.

    WhatsApp: E.164 or a user id (``CC.xxx``, kept as it is). SMS: E.164, a short code or an alphanumeric
    sender.
    """
    bare = text.removeprefix(WHATSAPP_PREFIX) if channel is Channel.WHATSAPP else text
    if E164.fullmatch(bare):
        return bare
    if channel is Channel.WHATSAPP and USER_ID.fullmatch(bare):
        return bare
    if channel is Channel.SMS and (SHORT_CODE.fullmatch(bare) or _is_sender_name(bare)):
        return bare
    return normalise(channel, bare)


def _is_sender_name(text: str) -> bool:
    return bool(SENDER_NAME.fullmatch(text)) and any(character.isalpha() for character in text)


def _is_local_part(local: str) -> bool:
    return (
        0 < len(local) <= LOCAL_PART_LIMIT and local.isprintable() and not set(local) & set(' "(),:;<>@[]\\')
    )


def _ascii_domain(domain: str) -> str:
    try:
        encoded = domain.rstrip(".").lower().encode("idna").decode("ascii")
    except UnicodeError:
        raise MalformedPayload("The domain of the e-mail address is not valid.") from None
    labels = encoded.split(".")
    if len(labels) < 2 or not all(DOMAIN_LABEL.fullmatch(label) for label in labels):  # noqa: PLR2004 - name and top level
        raise MalformedPayload("The domain of the e-mail address is not valid.")
    return encoded
