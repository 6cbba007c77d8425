"""The store of files in a bucket of S3, or of whatever speaks its protocol (MinIO, R2, Ceph)."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from uuid import UUID
from xml.etree import ElementTree as ET

import aiohttp
from yarl import URL

from channels.errors import NotThere, StoreUnavailable
from channels.sigv4 import S3, AwsKey, AwsScope, sign_request
from handlers.media_store import StoredFile

PIECE = 64 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=60, connect=5)
_UNSAFE_ENDPOINT = "must name a host: endpoint=https://…"


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where the files are: ``base_url`` is the bucket's, ``prefix`` is empty or ends with a slash."""

    base_url: str
    region: str
    prefix: str = ""


def read_bucket(url: str) -> Bucket:
    """The bucket of ``s3://bucket/prefix?region=…&endpoint=…``; raises ValueError that says what is wrong.

    With an endpoint the bucket is the path's first part (as MinIO has it), else the host's, as at AWS.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme != "s3" or not parts.netloc or parts.fragment or options.keys() - {"region", "endpoint"}:
        raise ValueError("must be s3://bucket/prefix?region=…&endpoint=…")
    region = options.get("region") or "us-east-1"
    prefix = f"{parts.path.strip('/')}/".lstrip("/")
    endpoint = options.get("endpoint")
    if endpoint is None:
        return Bucket(f"https://{parts.netloc}.s3.{region}.amazonaws.com", region, prefix)
    if urlsplit(endpoint).scheme not in {"http", "https"} or not urlsplit(endpoint).netloc:
        raise ValueError(_UNSAFE_ENDPOINT)
    return Bucket(f"{endpoint.rstrip('/')}/{parts.netloc}", region, prefix)


class S3Store:
    """A ``MediaStore`` in a bucket. The operator named it, so that its address is not judged."""

    def __init__(self, bucket: Bucket, key: AwsKey, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._key = key
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def put(self, key: str, content: bytes) -> None:
        async with self._exchange("PUT", self._path(key), body=content) as response:
            _check(response)

    async def read(self, key: str) -> AsyncGenerator[bytes]:
        async with self._exchange("GET", self._path(key)) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                raise NotThere
            _check(response)
            async for piece in response.content.iter_chunked(PIECE):
                yield piece

    async def delete_older(self, key: str, put_before: datetime) -> bool:
        """S3 has no such condition for a deletion: between the look and it are some milliseconds."""
        async with self._exchange("HEAD", self._path(key)) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return False
            _check(response)
            if _http_date(response.headers.get("Last-Modified", "")) >= put_before:
                return False
        async with self._exchange("DELETE", self._path(key)) as response:
            if response.status != HTTPStatus.NOT_FOUND:
                _check(response)
        return True

    async def list_files(self, tenant: UUID, after: str, limit: int) -> Sequence[StoredFile]:
        query = {
            "list-type": "2",
            "max-keys": str(limit),
            "prefix": f"{self._bucket.prefix}{tenant}/",
            **({"start-after": self._bucket.prefix + after} if after else {}),
        }
        async with self._exchange("GET", "/", query) as response:
            _check(response)
            return _files_of(await response.read(), self._bucket.prefix)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _path(self, key: str) -> str:
        return "/" + quote(self._bucket.prefix + key)

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT)
        url = self._bucket.base_url + path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        scope = AwsScope(self._bucket.region, S3)
        headers = sign_request(self._key, scope, method, url, at=self._clock(), body=body)
        try:
            async with self._session.request(
                method, URL(url, encoded=True), headers=headers, data=body or None, allow_redirects=False
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StoreUnavailable(f"The bucket: {type(error).__name__}.") from None


def _check(response: aiohttp.ClientResponse) -> None:
    if not response.ok or response.status >= HTTPStatus.MULTIPLE_CHOICES:
        raise StoreUnavailable(f"The bucket answered {response.status}.")


def _files_of(document: bytes, prefix: str) -> list[StoredFile]:
    """The keys of a ListObjectsV2 answer, without our prefix."""
    try:
        root = ET.fromstring(document)  # noqa: S314 - of the operator's own store
        return [
            StoredFile(_text(found, "Key").removeprefix(prefix), _moment(_text(found, "LastModified")))
            for found in root.iterfind("{*}Contents")
        ]
    except (ET.ParseError, ValueError):
        raise StoreUnavailable("The bucket's list cannot be read.") from None


def _text(found: ET.Element, name: str) -> str:
    return found.findtext(f"{{*}}{name}") or ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _http_date(text: str) -> datetime:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        raise StoreUnavailable("The bucket does not say when the file was put.") from None
