"""Every adapter there is, in one list: a new channel is one file and one line here."""

from collections.abc import Mapping

import aiohttp

from channels.base import ChannelAdapter
from channels.email_postmark import PostmarkAdapter
from channels.provider_urls import ProviderUrls
from channels.twilio import TwilioAdapter
from channels.whatsapp_cloud import WhatsAppCloudAdapter


def build_adapters(
    urls: ProviderUrls | None = None, session: aiohttp.ClientSession | None = None
) -> Mapping[str, ChannelAdapter]:
    """The adapters by their provider's name.

    ``session`` carries requests to the providers' own addresses (set by the operator) and stays the caller's
    to close; without it each adapter makes its own at the first send, to be closed by its ``aclose``.
    """
    urls = urls or ProviderUrls()
    adapters: tuple[ChannelAdapter, ...] = (
        TwilioAdapter(urls.twilio, session),
        WhatsAppCloudAdapter(urls.meta_graph, session),
        PostmarkAdapter(urls.postmark, session),
    )
    return {adapter.name: adapter for adapter in adapters}
