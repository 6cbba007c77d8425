"""Notifications about our mails, as mail servers write them."""

from dataclasses import replace

import pytest

from channels.base import (
    ConsentChange,
    ConsentUpdate,
    Ignored,
    MessageStatus,
    StatusUpdate,
    SuppressionReason,
)
from channels.mail_bounces import bounce_of
from channels.mail_tokens import NamedMail
from tests.unit.channels.mime_cases import OUR_ID, OUR_UUID, TOKEN, mail_of, names

RECIPIENT = "nadie@tienda.example.com"


def named(recipient: str) -> NamedMail:
    return NamedMail(OUR_UUID, TOKEN, recipient)


def failed(code: str | None, recipient: str = RECIPIENT) -> StatusUpdate:
    return StatusUpdate(
        OUR_ID,
        MessageStatus.FAILED,
        message_id=OUR_UUID,
        provider_status="bounced",
        error_code=code,
        named_mail=named(recipient),
    )


SUPPRESSED = ConsentUpdate(
    f"{OUR_ID}:{RECIPIENT}:bounce",
    RECIPIENT,
    ConsentChange.OUT,
    SuppressionReason.BOUNCE,
    named_mail=named(RECIPIENT),
)
BOUNCES = {
    "no_such_user": (failed("5.1.1"), SUPPRESSED),
    "whole_mail_returned": (failed("5.1.10"), SUPPRESSED),
    "sender_without_domain": (failed("5.1.1"), SUPPRESSED),
    "forwarded_address": (failed("5.1.1"), SUPPRESSED),
    "mailbox_full": (failed("5.2.2"),),
    "given_up_after_delays": (failed("4.4.7"),),
    # A stranger's mailbox is not shut by who names it.
    "names_another_address": (failed("5.1.1", "victima@otra.example.com"),),
    "exchange_without_returned_mail": (failed("5.1.10"),),
    "exim_plain": (failed(None),),
    "delivered": (
        StatusUpdate(OUR_ID, MessageStatus.DELIVERED, message_id=OUR_UUID, named_mail=named(RECIPIENT)),
    ),
    "delayed": (Ignored("delivery_delayed"),),
    "relayed": (Ignored("delivery_relayed"),),
    "of_another_mail": (),
}


@pytest.mark.parametrize("name", BOUNCES)
def test_what_a_notification_says(name: str) -> None:
    assert bounce_of(mail_of(f"bounce__{name}")) == BOUNCES[name]


def test_every_fixture_is_in_the_table() -> None:
    assert names("bounce") == sorted(f"bounce__{name}" for name in BOUNCES)


@pytest.mark.parametrize("name", [*names("reply"), *names("mime")])
def test_no_other_mail_is_a_notification(name: str) -> None:
    """Though customers answer our Message-IDs."""
    assert bounce_of(mail_of(name)) == ()


def test_a_report_cannot_be_made_long() -> None:
    mail = mail_of("bounce__no_such_user")
    report, returned = mail.parts
    block = b"\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.2.1\n"
    long = replace(mail, parts=(replace(report, content=report.content + block * 5000), returned))

    assert len(bounce_of(long)) <= 51
