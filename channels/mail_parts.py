"""The files of a mail that is stored whole: ``part:N`` is the mail's file of that number."""

import re

from channels.abilities import MediaContent
from channels.errors import MalformedPayload
from channels.mail import Mail

_ADDRESS = re.compile(r"part:([0-9]{1,6})", re.ASCII)


def mail_part(mail: Mail, url: str) -> MediaContent:
    """The file that an attachment's ``url`` names; raises MalformedPayload where the mail has none of that number."""
    found = _ADDRESS.fullmatch(url)
    number = int(found[1]) if found else None
    for part in mail.parts:
        if part.number == number:
            return MediaContent(part.content, part.content_type, part.filename)
    raise MalformedPayload("The mail has no such part.")
