"""The store of files and the scanner that the settings name."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from channels.sigv4 import AwsKey
from gateway.local_media import FolderStore
from gateway.media_scan import ClamdScanner
from gateway.s3_media import S3Store, read_bucket
from gateway.settings import PREFIX, Settings, SettingsError
from handlers.media_store import MediaScanner, MediaStore

FOLDER = "media"


def build_media_store(settings: Settings, home: Path, clock: Callable[[], datetime]) -> MediaStore:
    """The bucket that is configured, else the folder ``media`` under ``home``; raises SettingsError for a bucket without
    its key.
    """
    if settings.media_url is None:
        return FolderStore(home / FOLDER)
    key_id, secret = settings.media_access_key_id, settings.media_secret_access_key
    if key_id is None or secret is None:
        raise SettingsError(
            f"{PREFIX}MEDIA_ACCESS_KEY_ID and {PREFIX}MEDIA_SECRET_ACCESS_KEY are needed with {PREFIX}MEDIA_URL"
        )
    return S3Store(read_bucket(settings.media_url), AwsKey(key_id, secret.get_secret_value()), clock)


def build_media_scanner(settings: Settings) -> MediaScanner | None:
    """The scanner that is configured, if one is."""
    if settings.clamd is None:
        return None
    host, _, port = settings.clamd.rpartition(":")
    return ClamdScanner(host.strip("[]"), int(port))
