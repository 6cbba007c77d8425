"""What operators watch; all names begin with waystation_."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

INBOUND = Counter("waystation_inbound_requests", "Posts of providers by answer.", ("provider", "status"))
DENIED = Counter("waystation_denied", "Refused signatures and keys.", ("type",))
UNMATCHED = Counter("waystation_unmatched_statuses", "Statuses of messages that nobody knows.", ("provider",))
UNPROVEN = Counter(
    "waystation_unproven_notices",
    "What mails said of addresses that the mail they name did not go to.",
    ("provider",),
)
UNROUTED = Counter(
    "waystation_unrouted_items",
    "What a verified post said of accounts that are nobody's here.",
    ("provider",),
)
SPOOLED = Counter("waystation_spooled_posts", "Posts kept on disk instead of stored.", ("provider",))
REPLAYED = Counter(
    "waystation_spool_replayed", "Posts from disk by result: stored, or set aside.", ("provider", "result")
)
SPOOL_WAITING = Gauge("waystation_spool_waiting", "Posts on this machine's disk that wait to be stored.")
SPOOL_ASIDE = Gauge("waystation_spool_set_aside", "Posts on this machine's disk that could not be stored.")
WORK = Counter("waystation_work", "Finished pieces of work by lane and result.", ("lane", "result"))
WORK_SECONDS = Histogram(
    "waystation_work_seconds",
    "How long a piece of work took.",
    ("lane",),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)

FIRST_BYTE_SECONDS = Histogram(
    "waystation_delivery_first_byte_seconds",
    "From an event's commit to the beginning of its first post to an endpoint.",
    buckets=(0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 15, 60, 300, 3600),
)
DELIVERY_ATTEMPTS = Counter(
    "waystation_delivery_attempts",
    "Posts to endpoints by what came of them: a class of statuses, or of errors.",
    ("result",),
)
LANE_AGE = Gauge(
    "waystation_lane_oldest_due_seconds", "How long the oldest work of a lane has been due.", ("lane",)
)
BREAKERS = Gauge(
    "waystation_endpoint_breakers", "Webhook endpoints by the state of their breakers.", ("state",)
)


async def show_metrics(_request: web.Request) -> web.Response:
    """The metrics in Prometheus' text format."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
