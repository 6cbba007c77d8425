"""``GET /v1/media/{token}``: a file by its link. The token is the right to it: there is no API key, and no cookie."""

from contextlib import aclosing
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web

from channels.errors import NotFound, NotThere, StoreUnavailable
from gateway.api.problems import unavailable
from gateway.keys import MEDIA_STORE, RUNTIME
from handlers.media_links import LinkedFile, open_link

PATH = "/v1/media/{token}"
# What a customer sent is shown without scripts, frames or anything from elsewhere, and never taken for what it is not.
# The page that a browser makes around a picture or a sound needs a style, and the file itself.
_GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
    ),
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
}


async def serve_file(request: web.Request) -> web.StreamResponse:
    """The file's bytes. Raises NotFound, the same for a wrong link, one that is over, and a file that is gone."""
    file = await open_link(request.app[RUNTIME], request.app[MEDIA_STORE], request.match_info["token"])
    if file is None:
        raise NotFound
    async with aclosing(file.pieces) as pieces:
        try:
            first = await anext(pieces, b"")
        except NotThere:
            raise NotFound from None
        except StoreUnavailable:
            raise unavailable("The store of files cannot be read; try again.") from None
        response = web.StreamResponse(status=HTTPStatus.OK, headers=_headers(file))
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
    await response.write_eof()
    return response


def _headers(file: LinkedFile) -> dict[str, str]:
    return {
        **_GUARDS,
        "Content-Type": file.kind,
        "Content-Length": str(file.size_bytes),
        "Content-Disposition": _disposition(file),
    }


def _disposition(file: LinkedFile) -> str:
    """RFC 6266: the sender's name for the file in the extended form, without the folders that it may claim."""
    kind = "inline" if file.shown_inline else "attachment"
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2].strip()
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}" if name else kind
