"""The one tree of errors; workers decide on retry from the type, never from the channel.

GatewayError
├── Rejected               what was posted to us is refused; nothing is retried by us
│   ├── VerificationFailed
│   ├── MalformedPayload
│   ├── UnknownAccount
│   ├── NotFound
│   ├── WrongState
│   │   └── ChallengeFailed
│   └── InvalidInput
│       ├── UrlNotAllowed
│       └── HeaderNotAllowed
├── Temporary              the same try may work later
│   ├── Throttled
│   │   └── RecipientThrottled
│   ├── ProviderUnavailable
│   ├── OutcomeUnknown
│   ├── NotThere           a file that may come later
│   ├── StoreUnavailable   our own store of files
│   ├── ScannerUnavailable
│   ├── DeliveryFault      a request to an address that a tenant named got no answer; says of which kind
│   └── LookupsBusy        nothing left, for a reason of our own: not the other side's fault
├── Permanent              the same try will never work
│   ├── AttemptsExhausted
│   ├── OutcomeStaysUnknown
│   ├── InvalidRecipient
│   ├── ContentRefused
│   ├── TooLarge
│   ├── BadCredentials
│   └── ModelOutputInvalid  a model answered, and the answer cannot be used
└── PolicyError            our own rule or the customer's wish forbids it
    ├── BudgetExceeded
    ├── OptedOut
    ├── WindowClosed
    └── EgressBlocked

A class's docstring is its default message. Messages never hold a secret, a customer's text or an expected
signature.
"""

from enum import StrEnum

from channels.exchanges import ExchangeTrace


class GatewayError(Exception):
    """Something went wrong."""

    code = "error"

    def __init__(self, message: str | None = None, *, provider_code: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())
        self.provider_code = provider_code


class Rejected(GatewayError):
    """The request was refused."""

    code = "rejected"


class VerificationFailed(Rejected):
    """The signature is missing or wrong."""

    code = "verification_failed"


class MalformedPayload(Rejected):
    """The payload is not of the form that the provider documents."""

    code = "malformed_payload"


class UnknownAccount(Rejected):
    """There is no such channel account."""

    code = "unknown_account"


class NotFound(Rejected):
    """There is no such thing, or it is another tenant's."""

    code = "not_found"


class WrongState(Rejected):
    """The thing is in a state that does not allow this."""

    code = "wrong_state"


class ChallengeFailed(WrongState):
    """The endpoint did not answer the challenge."""

    code = "challenge_failed"


class InvalidInput(Rejected):
    """A field has a value that is not allowed."""

    code = "invalid_field"

    def __init__(self, message: str | None = None, *, field: str, code: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.code = code or type(self).code


class UrlNotAllowed(InvalidInput):
    """The URL is of a form, or resolves to an address, that is not allowed."""

    code = "url_not_allowed"

    def __init__(self, message: str | None = None, *, field: str = "url") -> None:
        super().__init__(message, field=field)


class HeaderNotAllowed(InvalidInput):
    """A request header has a name or a value that is not allowed."""

    code = "header_not_allowed"

    def __init__(self, message: str | None = None, *, field: str = "headers") -> None:
        super().__init__(message, field=field)


class Temporary(GatewayError):
    """A fault that may pass."""

    code = "temporary"

    def __init__(
        self,
        message: str | None = None,
        *,
        provider_code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, provider_code=provider_code)
        self.retry_after = retry_after  # seconds, where the other side named them


class Throttled(Temporary):
    """The provider asks to slow down."""

    code = "throttled"


class RecipientThrottled(Throttled):
    """The provider asks to slow down with this recipient alone."""


class ProviderUnavailable(Temporary):
    """The provider cannot be reached or answered with a fault of its own; it did not take the request."""

    code = "provider_unavailable"


class OutcomeUnknown(Temporary):
    """The request left, and nobody knows whether it was taken; ask the provider before a second try."""

    code = "outcome_unknown"


class FaultClass(StrEnum):
    """Why an attempt to reach a tenant's address failed, as integrators read it."""

    DNS = "dns"
    REFUSED = "refused"
    RESET = "reset"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    STATUS = "status"  # it was answered, but not as hoped for
    EGRESS_BLOCKED = "egress_blocked"
    CONFIGURATION = "configuration"  # nothing was posted: secrets or headers cannot be used
    AUTHORISATION = "authorisation"  # nothing was posted: the endpoint's token server gave no token
    INTERRUPTED = "interrupted"  # nothing was posted: too many attempts in a row had ended with their workers
    DEFERRED = "deferred"  # nothing was posted, for a reason of our own: costs no place of the schedule


class DeliveryFault(Temporary):
    """The other side gave no usable answer."""

    code = "delivery_fault"

    def __init__(self, error_class: FaultClass, trace: ExchangeTrace | None = None) -> None:
        super().__init__(f"The other side gave no usable answer: {error_class}.")
        self.error_class = error_class
        self.trace = trace or ExchangeTrace()


class LookupsBusy(Temporary):
    """Too many name lookups are under way; this one has not begun."""

    code = "lookups_busy"
    error_class = FaultClass.DEFERRED

    def __init__(self, message: str | None = None, *, trace: ExchangeTrace | None = None) -> None:
        super().__init__(message)
        self.trace = trace or ExchangeTrace()


class NotThere(Temporary):
    """The file is not there, perhaps not yet."""

    code = "not_there"


class StoreUnavailable(Temporary):
    """The store of files cannot be used."""

    code = "store_unavailable"


class ScannerUnavailable(Temporary):
    """The scanner cannot be asked."""

    code = "scanner_unavailable"


class Permanent(GatewayError):
    """A fault that will not pass."""

    code = "permanent"


class AttemptsExhausted(Permanent):
    """It was tried as often as is sensible."""

    code = "attempts_exhausted"


class OutcomeStaysUnknown(Permanent):
    """Nobody knows whether it was taken, and one more try might be one more copy."""

    code = "outcome_unknown"


class InvalidRecipient(Permanent):
    """The address does not exist or cannot receive."""

    code = "invalid_recipient"


class ContentRefused(Permanent):
    """The provider refuses this content."""

    code = "content_refused"


class TooLarge(Permanent):
    """The file is larger than what is taken."""

    code = "too_large"


class BadCredentials(Permanent):
    """The provider refuses the account's credentials or configuration."""

    code = "bad_credentials"


class ModelFault(StrEnum):
    """Why a model's answer cannot be used."""

    TRUNCATED = "truncated"
    REFUSED = "refused"
    MALFORMED = "malformed"


class ModelOutputInvalid(Permanent):
    """The model's answer cannot be used.

    Permanent, because every answer is paid for: with strict output a bad one comes from the input (too long,
    refused), so asking again mostly buys the same. Whoever has a second engine falls back; else a person
    takes over.
    """

    code = "model_output_invalid"

    def __init__(self, fault: ModelFault) -> None:
        super().__init__(f"The model's answer cannot be used: {fault}.", provider_code=fault)
        self.fault = fault


class PolicyError(GatewayError):
    """A rule forbids it."""

    code = "policy"


class BudgetExceeded(PolicyError):
    """The tenant's AI budget is used up."""

    code = "budget_exceeded"


class OptedOut(PolicyError):
    """The recipient has opted out."""

    code = "opted_out"


class WindowClosed(PolicyError):
    """The 24-hour window since the customer's last message is closed; only a template may be sent."""

    code = "window_closed"


class EgressBlocked(PolicyError):
    """The target address may not be reached from here."""

    code = "egress_blocked"
    error_class = FaultClass.EGRESS_BLOCKED
    trace = ExchangeTrace()  # always empty: what a dial would have met is not told
