"""Typed keys of what hangs on the aiohttp application and on a request."""

from collections.abc import Mapping

from aiohttp import web

from channels.base import ChannelAdapter
from channels.egress import EgressClient
from db.wake import Notifier
from gateway.acceptor import Acceptor
from gateway.accounts import AccountDirectory
from gateway.arrivals import Arrivals
from gateway.denials import DenialLog
from gateway.intake import Intake
from gateway.settings import Settings
from gateway.spooling import Spooling
from handlers.media_store import MediaStore
from handlers.runtime import Runtime

SETTINGS = web.AppKey("settings", Settings)
RUNTIME = web.AppKey("runtime", Runtime)
ADAPTERS: web.AppKey[Mapping[str, ChannelAdapter]] = web.AppKey("adapters", Mapping)
EGRESS = web.AppKey("egress", EgressClient)
ACCEPTOR = web.AppKey("acceptor", Acceptor)
ACCOUNTS = web.AppKey("accounts", AccountDirectory)
INTAKE = web.AppKey("intake", Intake)
SPOOLING = web.AppKey("spooling", Spooling)
MEDIA_STORE: web.AppKey[MediaStore] = web.AppKey("media_store", MediaStore)
ARRIVALS = web.AppKey("arrivals", Arrivals)
NOTIFIER = web.AppKey("notifier", Notifier)
DENIALS = web.AppKey("denials", DenialLog)
