"""Every adapter there is, in one list: a new channel is one file and one line here."""

from collections.abc import Callable, Mapping
from datetime import datetime

import aiohttp

from channels.base import ChannelAdapter
from channels.email_mailgun import MailgunAdapter
from channels.email_mime import MimeAdapter
from channels.email_postmark import PostmarkAdapter
from channels.email_resend import ResendAdapter
from channels.email_sendgrid import SendGridAdapter
from channels.email_ses import SesAdapter
from channels.iso_times import utc_now
from channels.networks import Network
from channels.provider_urls import ProviderUrls
from channels.smtp import SmtpClient
from channels.twilio import TwilioAdapter
from channels.whatsapp_cloud import WhatsAppCloudAdapter


def build_adapters(
    urls: ProviderUrls | None = None,
    session: aiohttp.ClientSession | None = None,
    clock: Callable[[], datetime] = utc_now,
    allow: tuple[Network, ...] = (),
) -> Mapping[str, ChannelAdapter]:
    """The adapters by their provider's name.

    ``session`` carries requests to the providers' own addresses (set by the operator) and stays the caller's
    to close; without it each adapter makes its own at the first send, to be closed by its ``aclose``. ``clock`` gives
    aware UTC times: how old a signature may be is judged by it. ``allow``: the private networks in which a tenant's own
    mail server may be, from the deployment's settings.
    """
    urls = urls or ProviderUrls()
    adapters: tuple[ChannelAdapter, ...] = (
        TwilioAdapter(urls.twilio, session),
        WhatsAppCloudAdapter(urls.meta_graph, session),
        SendGridAdapter(urls.sendgrid, clock, session),
        MailgunAdapter(urls.mailgun, clock, session),
        PostmarkAdapter(urls.postmark, session),
        ResendAdapter(urls.resend, session, clock),
        SesAdapter(urls.ses, clock, session),
        MimeAdapter(SmtpClient(allow), clock),
    )
    return {adapter.name: adapter for adapter in adapters}
