"""The page that shows the OpenAPI document: Swagger UI from an installed wheel, without any other host."""

import base64
import hashlib
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get, route
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.params import FromPath
from litestar.types import Method

from huajuan.http.content_negotiation import names_type
from huajuan.http.services import Services
from huajuan.http.urls import location

PATH = "/schema"
DOCUMENT = "/openapi.json"
# The wheel is read as data. Importing it would load its web framework adapters.
_WHEEL = distribution("swagger-ui-py")
SWAGGER_UI = Path(str(_WHEEL.locate_file("swagger_ui/static")))
# The path of the assets contains the version, so that each of them never changes.
ASSETS = f"swagger-ui-{_WHEEL.version}"
FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_OURS = Path(__file__).parent / "page"
_START = (_OURS / "start.js").read_text("utf-8")
_PAGE = (_OURS / "index.html").read_text("utf-8").replace("ASSETS", ASSETS).replace("START", _START)
# Links are relative, so that the page works behind a proxy that strips a path. The second is for a path with
# a slash at its end.
_FOLDERS = (PATH.lstrip("/"), f"..{PATH}")
_START_DIGEST = base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        f"script-src 'self' 'sha256-{_START_DIGEST}'",
        "style-src 'self' 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_REVALIDATED = {"Cache-Control": "no-cache"}
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
# All methods, because a 405 would reveal that the path exists.
_ANY_METHOD: list[Method] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


@route(["/", "/docs"], http_method=_ANY_METHOD, include_in_schema=False)
async def redirect_to_page(request: Request[Any, Any, Any]) -> Response[str]:
    """Redirect browsers to the API page. For other clients the path is unknown."""
    if request.method not in ("GET", "HEAD") or not names_type(request, MediaType.HTML):
        raise NotFoundException
    services: Services = request.app.state.services
    headers = location(services.settings.public_address, PATH) | {
        "Cache-Control": "no-store",
        "Vary": "Accept",
    }
    return Response("", status_code=302, media_type=MediaType.TEXT, headers=headers)


class ApiPage(OpenAPIRenderPlugin):
    """The page and its assets."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        folder = _FOLDERS[request.scope["raw_path"].endswith(b"/")]
        return _PAGE.replace("FOLDER", folder).encode()

    def receive_router(self, router: Router) -> None:
        router.register(_asset)


def page_router() -> Router:
    """The router of `/schema`; an unknown path below it gets the usual 404."""
    return Router(PATH, route_handlers=[], include_in_schema=False, after_request=_add_headers)


async def _add_headers(response: Response[Any]) -> Response[Any]:
    if response.status_code == NotFoundException.status_code:
        raise NotFoundException
    response.headers = _REVALIDATED | response.headers
    if response.media_type == MediaType.HTML:
        response.headers |= _PAGE_HEADERS
    return response


@get(f"/{ASSETS}/{{name:str}}", media_type=MediaType.TEXT, sync_to_thread=False)
def _asset(name: FromPath[str]) -> Response[bytes]:
    """One file of Swagger UI."""
    if name not in FILES:
        raise NotFoundException
    return Response(_content(name), media_type=FILES[name], headers=_FOREVER)


@cache
def _content(name: str) -> bytes:
    return (SWAGGER_UI / name).read_bytes()
