"""Every adapter there is, in one list: a new channel is one file and one line here."""

from collections.abc import Mapping

import aiohttp

from channels.base import ChannelAdapter
from channels.twilio import TwilioAdapter
from channels.twilio_api import TWILIO_API


def build_adapters(
    *, twilio_api_url: str = TWILIO_API, session: aiohttp.ClientSession | None = None
) -> Mapping[str, ChannelAdapter]:
    """The adapters by their provider's name.

    ``session`` carries requests to the providers' own addresses (set by the operator) and stays the caller's
    to close; without it each adapter makes its own at the first send, to be closed by its ``aclose``.
    """
    adapters: tuple[ChannelAdapter, ...] = (TwilioAdapter(twilio_api_url, session),)
    return {adapter.name: adapter for adapter in adapters}
