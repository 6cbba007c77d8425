"""Where the providers' APIs are: an operator's setting, so that a sandbox can stand in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProviderUrls:
    """Base URLs without a trailing slash. None: the provider has one per region, and the account's region decides."""

    twilio: str = "https://api.twilio.com"
    meta_graph: str = "https://graph.facebook.com"
    sendgrid: str = "https://api.sendgrid.com"
    postmark: str = "https://api.postmarkapp.com"
    resend: str = "https://api.resend.com"
    mailgun: str | None = None
    ses: str | None = None
