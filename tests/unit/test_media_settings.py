"""Which store and which scanner the settings name."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.local_media import FolderStore
from gateway.media_scan import ClamdScanner
from gateway.media_store import build_media_scanner, build_media_store
from gateway.s3_media import S3Store
from gateway.settings import Settings, SettingsError, read_settings

BUCKET = "s3://files/of/us?region=eu-west-1&endpoint=https://minio.example"


def now() -> datetime:
    return datetime.now(UTC)


def read(**values: str) -> Settings:
    return read_settings({f"WAYSTATION_{name}": value for name, value in values.items()}, None)


def test_without_a_setting_files_are_in_a_folder(tmp_path: Path):
    assert isinstance(build_media_store(read(), tmp_path, now), FolderStore)
    assert build_media_scanner(read()) is None


async def test_a_bucket_needs_its_key(tmp_path: Path):
    whole = read(MEDIA_URL=BUCKET, MEDIA_ACCESS_KEY_ID="AKID", MEDIA_SECRET_ACCESS_KEY="s3cret")

    assert isinstance(build_media_store(whole, tmp_path, now), S3Store)
    assert "s3cret" not in repr(whole)
    for settings in (read(MEDIA_URL=BUCKET), read(MEDIA_URL=BUCKET, MEDIA_ACCESS_KEY_ID="AKID")):
        with pytest.raises(
            SettingsError, match="MEDIA_SECRET_ACCESS_KEY are needed with WAYSTATION_MEDIA_URL"
        ):
            build_media_store(settings, tmp_path, now)


@pytest.mark.parametrize("value", ["clamd:3310", "127.0.0.1:3310", "[::1]:3310", "av.inner.example:3310"])
def test_a_scanner_is_a_host_and_a_port(value: str):
    assert isinstance(build_media_scanner(read(CLAMD=value)), ClamdScanner)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("CLAMD", "clamd", "WAYSTATION_CLAMD must be host:port"),
        ("CLAMD", "tcp://clamd:3310", "WAYSTATION_CLAMD must be host:port"),
        ("CLAMD", "clamd:", "WAYSTATION_CLAMD must be host:port"),
        ("MEDIA_URL", "/srv/media", "WAYSTATION_MEDIA_URL must be s3://bucket"),
        ("MEDIA_URL", "", "WAYSTATION_MEDIA_URL is empty"),
    ],
)
def test_another_value_is_told_at_start(name: str, value: str, told: str):
    with pytest.raises(SettingsError, match=told):
        read(**{name: value})
