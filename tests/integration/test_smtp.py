"""Sending through a tenant's SMTP server, against a server on loopback that goes wrong as scripted."""

import contextlib
from datetime import UTC, datetime
from uuid import UUID

import pytest

from channels.base import Attachment, Channel, ChannelAccount, MailHeaders, OutboundMessage
from channels.email_mime import MimeAdapter
from channels.errors import (
    BadCredentials,
    ContentRefused,
    EgressBlocked,
    InvalidRecipient,
    OutcomeUnknown,
    ProviderUnavailable,
    Throttled,
    TooLarge,
)
from channels.mime import read_mail
from channels.registry import build_adapters
from channels.smtp import SmtpClient, SmtpStep, SmtpTimeouts
from tests.integration.egress_stage import LOOPBACK, PUBLIC, Names, Server, silent, tls_contexts
from tests.smtp_stand_in import SmtpFault, SmtpState, running_smtp

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MESSAGE_ID = "0123456789abcdef0123456789abcdef.6f1b6c1d5f0a4c7e9d3b2a1908f7e6d5@dist.example.com"
MESSAGE = OutboundMessage(
    id=UUID("6f1b6c1d-5f0a-4c7e-9d3b-2a1908f7e6d5"),
    channel=Channel.EMAIL,
    recipient="ana@tienda.example.com",
    text="Anotado: 5 cajas.\n.\nFin",
    status_url="",
    attachments=(Attachment("", "application/pdf", "pedido ñ.pdf", content=b"%PDF-1.7"),),
    mail=MailHeaders(
        "Re: Pedido", MESSAGE_ID, in_reply_to="a@tienda.example.com", references=("a@tienda.example.com",)
    ),
)


def account(port, host="mail.example.test", tls="none", login=None):
    smtp = {"host": host, "port": port, "tls": tls, **(login or {})}
    return ChannelAccount(
        UUID(int=1),
        UUID(int=2),
        Channel.EMAIL,
        "mime",
        "pedidos@dist.example.com",
        {"hmac_secret": "x", "smtp": smtp},
    )


def adapter(allow=LOOPBACK, names=None, **options):
    resolver = names or Names(mail_example_test=[["127.0.0.1"]])
    return MimeAdapter(SmtpClient(allow, resolver=resolver, **options), lambda: NOW)


async def send(port, sender=None, **server):
    sender = sender or adapter()
    try:
        return await sender.send(account(port, **server), MESSAGE)
    finally:
        await sender.aclose()


async def test_a_mail_arrives_as_it_was_written():
    state = SmtpState()
    async with running_smtp(state) as port:
        receipt = await send(port)

    [taken] = state.taken
    mail = read_mail(taken.content)
    assert receipt.provider_message_id == MESSAGE_ID == mail.thread.message_id
    assert (taken.sender, taken.recipients) == ("pedidos@dist.example.com", ("ana@tienda.example.com",))
    assert mail.text == MESSAGE.text
    assert mail.headers["date"] == "Wed, 04 Mar 2026 05:06:07 +0000"
    assert mail.automated == "auto_submitted"
    assert [(part.filename, part.content) for part in mail.parts] == [("pedido ñ.pdf", b"%PDF-1.7")]


REFUSALS = [  # (where, the answer, the error, its code)
    (SmtpStep.SENDER, "421 4.3.2 Closing", Throttled, "421 4.3.2"),
    (SmtpStep.SENDER, "451 4.3.0 Later", Throttled, "451 4.3.0"),
    (SmtpStep.SENDER, "550 5.7.60 Not your address", BadCredentials, "550 5.7.60"),
    (SmtpStep.RECIPIENT, "450 4.2.0 Greylisted", Throttled, "450 4.2.0"),
    (SmtpStep.RECIPIENT, "452 4.2.2 Full", Throttled, "452 4.2.2"),
    (SmtpStep.RECIPIENT, "471 4.1.0 Strange", ProviderUnavailable, "471 4.1.0"),
    (SmtpStep.RECIPIENT, "550 5.1.1 No such user", InvalidRecipient, "550 5.1.1"),
    (SmtpStep.RECIPIENT, "550 No such user", InvalidRecipient, "550"),
    (SmtpStep.RECIPIENT, "554 5.7.1 Relay denied", BadCredentials, "554 5.7.1"),
    (SmtpStep.CONTENT, "451 4.7.0 Later", Throttled, "451 4.7.0"),
    (SmtpStep.CONTENT, "554 5.7.1 Spam", ContentRefused, "554 5.7.1"),
    (SmtpStep.CONTENT, "552 5.3.4 Too big", TooLarge, "552 5.3.4"),
    (SmtpStep.CONTENT, "251 Odd", OutcomeUnknown, "251"),
]


@pytest.mark.parametrize(
    ("step", "answer", "error", "code"), REFUSALS, ids=[f"{case[0]}-{case[1]}" for case in REFUSALS]
)
async def test_a_refusal_has_its_type(step, answer, error, code):
    state = SmtpState()
    state.faults.append(SmtpFault(step, answer))
    async with running_smtp(state) as port:
        with pytest.raises(error) as caught:
            await send(port)

    assert type(caught.value) is error
    assert caught.value.provider_code == code
    assert not state.taken


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (SmtpStep.SENDER, ProviderUnavailable),
        (SmtpStep.RECIPIENT, ProviderUnavailable),
        (SmtpStep.CONTENT, OutcomeUnknown),
    ],
)
async def test_a_connection_that_breaks(step, error):
    """Once the content has left, nobody knows."""
    state = SmtpState()
    state.faults.append(SmtpFault(step, taken=True))
    async with running_smtp(state) as port:
        with pytest.raises(error):
            await send(port)

    assert len(state.taken) == (step is SmtpStep.CONTENT)


async def test_a_server_that_says_nothing():
    async with Server(silent) as server:
        quick = adapter(timeouts=SmtpTimeouts(answer=0.1, opening=0.2))
        with pytest.raises(ProviderUnavailable) as caught:
            await send(server.port, quick)

    assert caught.value.provider_code == "timeout"


async def test_nobody_listens(unused_tcp_port):
    with pytest.raises(ProviderUnavailable) as caught:
        await send(unused_tcp_port)

    assert caught.value.provider_code == "connection"


@pytest.mark.parametrize(("password", "error"), [("right", None), ("wrong", BadCredentials)])
async def test_the_login(password, error):
    state = SmtpState(users={"pedidos": "right"})
    async with running_smtp(state) as port:
        login = {"username": "pedidos", "password": password}
        if error is None:
            await send(port, login=login)
            assert [taken.username for taken in state.taken] == ["pedidos"]
        else:
            with pytest.raises(error) as caught:
                await send(port, login=login)
            assert password not in str(caught.value)


async def test_a_server_that_offers_no_login_takes_the_mail_without():
    state = SmtpState(offers_login=False)
    async with running_smtp(state) as port:
        await send(port, login={"username": "pedidos", "password": "right"})

    assert [taken.username for taken in state.taken] == [None]


async def test_a_server_that_wants_a_login_and_gets_none():
    async with running_smtp(SmtpState(users={"pedidos": "right"})) as port:
        with pytest.raises(BadCredentials):
            await send(port)


async def test_an_account_without_a_server_only_receives():
    bare = ChannelAccount(
        UUID(int=1), UUID(int=2), Channel.EMAIL, "mime", "a@b.example", {"hmac_secret": "x"}
    )

    with pytest.raises(BadCredentials, match="only receives"):
        await adapter().send(bare, MESSAGE)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    server, trust = tls_contexts("mail.example.test", tmp_path_factory.mktemp("tls"))
    return server, trust()


@pytest.mark.parametrize("mode", ["starttls", "tls"])
async def test_a_mail_over_tls(mode, certificate):
    server_tls, trusting = certificate
    state = SmtpState()
    async with running_smtp(state, **{mode: server_tls}) as port:
        await send(port, adapter(ssl_context=trusting), tls=mode)

    assert [taken.over_tls for taken in state.taken] == [
        mode == "starttls"
    ]  # what wraps all, the server does not see
    assert state.connections == 1


@pytest.mark.parametrize("mode", ["starttls", "tls"])
async def test_a_certificate_for_another_host(mode, certificate):
    server_tls, trusting = certificate
    state = SmtpState()
    names = Names(other_example_test=[["127.0.0.1"]])
    async with running_smtp(state, **{mode: server_tls}) as port:
        with pytest.raises(ProviderUnavailable) as caught:
            await send(port, adapter(names=names, ssl_context=trusting), host="other.example.test", tls=mode)

    assert caught.value.provider_code == "tls"
    assert not state.taken


async def test_a_server_without_starttls_gets_no_password():
    state = SmtpState(users={"pedidos": "right"})
    async with running_smtp(state) as port:
        with pytest.raises(BadCredentials):
            await send(port, tls="starttls", login={"username": "pedidos", "password": "right"})

    assert not state.taken


# the guard


@pytest.mark.parametrize(
    ("label", "allow", "answers", "tls"),
    [
        ("loopback", (), [["127.0.0.1"]], "starttls"),
        ("metadata service", (), [["169.254.169.254"]], "starttls"),
        ("one of two addresses", (), [[PUBLIC, "10.0.0.5"]], "tls"),
        ("no TLS over the internet", LOOPBACK, [[PUBLIC]], "none"),
        ("no address at all", LOOPBACK, [[]], "starttls"),
    ],
)
async def test_the_address_is_judged_before_it_is_dialled(label, allow, answers, tls):
    state = SmtpState()
    async with running_smtp(state) as port:
        with pytest.raises(EgressBlocked):
            await send(port, adapter(allow, Names(mail_example_test=answers)), tls=tls)

    assert state.connections == 0


async def test_the_judged_address_is_the_dialled_one():
    """A second lookup would give another address."""
    names = Names(mail_example_test=[["127.0.0.1"], ["10.0.0.5"]])
    state = SmtpState()
    async with running_smtp(state) as port:
        await send(port, adapter(names=names))

    assert names.asked == 1
    assert len(state.taken) == 1


async def test_a_name_that_does_not_resolve():
    with pytest.raises(ProviderUnavailable) as caught:
        await send(2525, adapter(names=Names()))

    assert caught.value.provider_code == "dns"


async def test_the_registrys_adapter_keeps_to_the_deployments_allow_list():
    state = SmtpState()
    async with running_smtp(state) as port:
        for allow in ((), LOOPBACK):
            sender = build_adapters(clock=lambda: NOW, allow=allow)["mime"]
            with contextlib.suppress(EgressBlocked):
                await send(port, sender, host="127.0.0.1")

    assert len(state.taken) == state.connections == 1
