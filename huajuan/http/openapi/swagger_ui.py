"""The page that shows the OpenAPI document: Swagger UI from files of the package, and nothing from elsewhere."""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get, route
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.params import FromPath
from litestar.types import Method

from huajuan.http.links import location
from huajuan.http.middleware.accepting import names
from huajuan.http.services import AtDesk

PATH = "/schema"
DOCUMENT = "/openapi.json"
SWAGGER_UI = Path(__file__).parent / "vendor" / "swagger_ui"
VERSION = "5.35.0"
FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
# The version is part of the path, so that a file never changes.
_FILES_PATH = f"/swagger-ui-{VERSION}"
_FOREVER = "public, max-age=31536000, immutable"
_START = """
SwaggerUIBundle({
  url: document.getElementById("document").href,
  dom_id: "#page",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  filter: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
# Links are relative, so that the page works below whatever path a proxy takes away. The second is for a path that
# ends with a slash.
_FOLDERS = (PATH.lstrip("/"), f"..{PATH}")
_START_DIGEST = base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()
# What the page may load; the browser itself sees to it that nothing else is asked for.
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
_REVALIDATED = {"Cache-Control": "no-cache"}
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_STYLE = """
body { margin: 0; background: #faf9f6; }
.swagger-ui .info { margin: 2rem 0 1rem; }
.swagger-ui .scheme-container { padding: 1rem 0; background: none; box-shadow: none; }
.swagger-ui .info .link, .swagger-ui .servers-title, .swagger-ui .servers { display: none; }
.swagger-ui .filter-container { padding-top: 0; }
"""
_PAGE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>画卷 huajuan: API</title>
<link rel="icon" href="data:,">
<link id="document" rel="service-desc" type="application/json" href="FOLDER{DOCUMENT}">
<link rel="stylesheet" href="FOLDER{_FILES_PATH}/swagger-ui.css">
<style>{_STYLE}</style>
</head>
<body>
<noscript>This page needs JavaScript; <a href="FOLDER{DOCUMENT}">the document itself</a> does not.</noscript>
<div id="page"></div>
<script src="FOLDER{_FILES_PATH}/swagger-ui-bundle.js"></script>
<script>{_START}</script>
</body>
</html>
"""


# Else another method would be told that the path is known.
_ANY: list[Method] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


@route(["/", "/docs"], http_method=_ANY, include_in_schema=False)
async def to_the_page(request: Request[Any, Any, Any], desk: AtDesk) -> Response[str]:
    """A browser is sent to the API's page as long as there is no other; for all else the path is unknown."""
    if request.method not in ("GET", "HEAD") or not names(request, MediaType.HTML):
        raise NotFoundException
    headers = location(desk.settings.public_address, PATH) | {"Cache-Control": "no-store", "Vary": "Accept"}
    return Response("", status_code=302, media_type=MediaType.TEXT, headers=headers)


class ApiPage(OpenAPIRenderPlugin):
    """The page and its files."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        folder = _FOLDERS[request.scope["raw_path"].endswith(b"/")]
        return _PAGE.replace("FOLDER", folder).encode()

    def receive_router(self, router: Router) -> None:
        router.register(_file)


def page_router() -> Router:
    """Where the page stands; what is not there is answered as everywhere else."""
    return Router(PATH, route_handlers=[], include_in_schema=False, after_request=_finish)


async def _finish(response: Response[Any]) -> Response[Any]:
    if response.status_code == NotFoundException.status_code:
        raise NotFoundException
    response.headers = _REVALIDATED | response.headers
    if response.media_type == MediaType.HTML:
        response.headers |= _PAGE_HEADERS
    return response


@get(f"{_FILES_PATH}/{{name:str}}", media_type=MediaType.TEXT, sync_to_thread=False)
def _file(name: FromPath[str]) -> Response[bytes]:
    """One file of Swagger UI."""
    if name not in FILES:
        raise NotFoundException
    headers = {"Cache-Control": _FOREVER}
    return Response(_content(name), media_type=FILES[name], headers=headers)


@cache
def _content(name: str) -> bytes:
    return (SWAGGER_UI / name).read_bytes()
