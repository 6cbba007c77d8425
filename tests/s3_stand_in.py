"""A bucket in memory that takes signed requests only, as S3 does: what the store and the adapters are tested on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from xml.sax.saxutils import escape

from aiohttp import web

from channels.sigv4 import S3, AwsKey, AwsScope, sign_request

_SIGNATURES = {"authorization", "host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"}
_LIST = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}</ListBucketResult>'
_ITEM = "<Contents><Key>{}</Key><LastModified>{}</LastModified></Contents>"


@dataclass
class S3StandIn:
    """``objects`` by path; ``fail_with`` is the status that everything is answered with while it is set."""

    key: AwsKey
    region: str
    clock: Callable[[], datetime]
    objects: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    refused: int = 0
    fail_with: int | None = None

    def build_app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        if self.fail_with is not None:
            return web.Response(status=self.fail_with)
        if not await self._is_signed(request):
            self.refused += 1
            return web.Response(status=403, text="SignatureDoesNotMatch")
        if request.query.get("list-type") == "2":
            return self._list(request)
        path = request.path
        if request.method == "PUT":
            self.objects[path] = (await request.read(), self.clock())
            return web.Response()
        if request.method == "DELETE":
            self.objects.pop(path, None)
            return web.Response(status=204)
        return self._read(path)

    def _read(self, path: str) -> web.Response:
        if path not in self.objects:
            return web.Response(status=404)
        content, put_at = self.objects[path]
        headers = {"Last-Modified": format_datetime(put_at.astimezone(UTC), usegmt=True)}
        return web.Response(body=content, headers=headers)

    async def _is_signed(self, request: web.Request) -> bool:
        stamp = request.headers.get("X-Amz-Date", "")
        try:
            at = datetime.strptime(f"{stamp}+0000", "%Y%m%dT%H%M%SZ%z")
        except ValueError:
            return False
        signed = request.headers.get("Authorization", "").partition("SignedHeaders=")[2].partition(",")[0]
        names = [name for name in signed.split(";") if name not in _SIGNATURES]
        expected = sign_request(
            self.key,
            AwsScope(self.region, S3),
            request.method,
            f"http://{request.host}{request.raw_path}",
            at=at,
            headers={name: request.headers[name] for name in names},
            body=await request.read(),
        )
        return all(request.headers.get(name) == value for name, value in expected.items())

    def _list(self, request: web.Request) -> web.Response:
        bucket = f"/{request.match_info['bucket']}/"
        prefix, after = request.query.get("prefix", ""), request.query.get("start-after", "")
        keys = sorted(path.removeprefix(bucket) for path in self.objects if path.startswith(bucket))
        chosen = [key for key in keys if key.startswith(prefix) and key > after]
        items = (
            _ITEM.format(escape(key), self.objects[bucket + key][1].strftime("%Y-%m-%dT%H:%M:%S.000Z"))
            for key in chosen[: int(request.query["max-keys"])]
        )
        return web.Response(text=_LIST.format("".join(items)), content_type="application/xml")
