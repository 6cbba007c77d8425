"""Commands beside `waystation dev`, in its folder: its customers are made up, and no real provider may hear of them."""

import fcntl
from ipaddress import ip_network
from pathlib import Path

from gateway.dev.dev_state import LOCK_NAME, DevState, read_state
from gateway.dev.stand_ins.app import stand_in_urls
from gateway.services import HOME
from gateway.settings import Settings

_LOOPBACK = ip_network("127.0.0.0/8")


def beside_dev(settings: Settings, home: Path = HOME) -> Settings | None:
    """The settings with the stand-ins of the `waystation dev` that runs in ``home`` in the providers' place, so that a
    `work` or a `reconcile` there asks whom `dev` asks; None where none runs, or where a database is named, which may be
    another one. Raises NotPossibleHere for a file that is not ours.
    """
    if settings.database_url is not None:
        return None
    state = running_dev(home)
    return with_stand_ins(settings, state) if state else None


def running_dev(home: Path = HOME) -> DevState | None:
    """The state of the `waystation dev` that runs in ``home``, if one does; raises NotPossibleHere for a file that is
    not ours.
    """
    return read_state(home) if _is_running(home) else None


def with_stand_ins(settings: Settings, state: DevState) -> Settings:
    """Sends go to the stand-ins, and webhooks may reach this machine."""
    urls = stand_in_urls(state.stand_ins_url, twilio=state.sandbox_url)
    return settings.model_copy(
        update={
            "egress_allow": (*settings.egress_allow, _LOOPBACK),
            "twilio_api_url": urls.twilio,
            "meta_graph_url": urls.meta_graph,
            "sendgrid_api_url": urls.sendgrid,
            "mailgun_api_url": urls.mailgun,
            "postmark_api_url": urls.postmark,
            "resend_api_url": urls.resend,
            "ses_api_url": urls.ses,
        }
    )


def _is_running(home: Path) -> bool:
    try:
        with (home / LOCK_NAME).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no file: none ever ran here
        return False
    return False
