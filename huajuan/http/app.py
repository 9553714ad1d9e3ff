"""Puts the routes together into one application behind its door."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Router
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Server
from litestar.types import ASGIApp

from huajuan.auth.tokens import Claims
from huajuan.domain.refusals import ReasonRefused
from huajuan.http.errors import EXCEPTION_HANDLERS
from huajuan.http.links import public_path
from huajuan.http.middleware.canonical_path import canonical_paths
from huajuan.http.middleware.compression import compressing
from huajuan.http.middleware.cors import cors
from huajuan.http.middleware.guards import ahead, requires_admin, requires_token
from huajuan.http.middleware.head_requests import head_as_get
from huajuan.http.middleware.idempotency import Replayed, keeping_replies, on_replayed, one_effect
from huajuan.http.middleware.proxies import behind_proxies
from huajuan.http.middleware.request_id import door
from huajuan.http.middleware.request_metrics import Meter
from huajuan.http.openapi.document import ABOUT, COMPONENTS, SCHEME, TAGS, Document
from huajuan.http.openapi.swagger_ui import DOCUMENT, PATH, ApiPage, page_router, to_the_page
from huajuan.http.reasons import on_reason_refused
from huajuan.http.routes.accounts import login, logout, register, user_info
from huajuan.http.routes.admin import inference_servers
from huajuan.http.routes.admin.accounts_by_id import with_ids
from huajuan.http.routes.admin.approvals import approve, pending, reject
from huajuan.http.routes.admin.moderation import adjust, ban, reset_check, unban
from huajuan.http.routes.admin.past import past_gallery, past_profile
from huajuan.http.routes.admin.points import replayed_points
from huajuan.http.routes.admin.projections import projections, rebuild, skip
from huajuan.http.routes.admin.statistics import statistics
from huajuan.http.routes.admin.timeline import timeline
from huajuan.http.routes.admin.verify import verify_log
from huajuan.http.routes.avatars import avatar_picture, upload_avatar
from huajuan.http.routes.check_in import score
from huajuan.http.routes.erasure import erase
from huajuan.http.routes.favorites import add_favorite, favorites, remove_favorite
from huajuan.http.routes.gallery import bring_images_back, image_feature, image_square, remove_images
from huajuan.http.routes.generate import generate
from huajuan.http.routes.generation_events import generation_events
from huajuan.http.routes.generations import cancel_generation, own_generation, own_generations
from huajuan.http.routes.health import healthz, readyz
from huajuan.http.routes.images import all_images, one_image, own_images, own_images_of_time
from huajuan.http.routes.likes import like, unlike
from huajuan.http.routes.metrics import keep_refreshing, metrics
from huajuan.http.routes.pictures import picture
from huajuan.http.routes.points import own_point_history, own_points
from huajuan.http.routes.profile import all_users, avatar, change_avatar, update
from huajuan.http.services import AtDesk, Desk
from huajuan.response_cache.middleware import remembering
from huajuan.runtime.periodic import running
from huajuan.settings import Settings

PUBLIC = (all_users, all_images, picture, avatar_picture, healthz, readyz, metrics, to_the_page)
WITHOUT_TOKEN = (register, login)
WITH_TOKEN = (
    *(user_info, logout, update, change_avatar, avatar, upload_avatar, erase),
    *(score, generate),
    *(own_generations, own_generation, cancel_generation, generation_events),
    *(own_points, own_point_history),
    *(own_images, own_images_of_time, one_image, image_square, image_feature),
    *(remove_images, bring_images_back),
    *(like, unlike),
    *(favorites, add_favorite, remove_favorite),
)
FOR_ADMINS = (
    *(inference_servers.painters, inference_servers.add, inference_servers.remove),
    *(projections, rebuild, skip, statistics, adjust, ban, unban, reset_check),
    *(pending, approve, reject),
    *(replayed_points, timeline, past_profile, past_gallery, verify_log),
)
OpenDesk = Callable[[], AbstractAsyncContextManager[Desk]]


def create_app(settings: Settings, open_desk: OpenDesk) -> ASGIApp:
    """The desk is opened when the server starts and closed when it stops."""
    app = Litestar(
        route_handlers=[*PUBLIC, _before_token(), _behind_token(), _behind_role()],
        dependencies={
            "desk": Provide(_desk, sync_to_thread=False),
            "me": Provide(_me, sync_to_thread=False),
        },
        exception_handlers={**EXCEPTION_HANDLERS, Replayed: on_replayed, ReasonRefused: on_reason_refused},
        lifespan=[lambda app: _desk_open(app, open_desk)],
        openapi_config=_openapi(settings),
        request_max_body_size=settings.body_bytes_max,
        logging_config=None,
    )
    app.state.meter = Meter()
    inner = remembering(compressing(keeping_replies(app)), app)
    answering = head_as_get(cors(inner, settings.allowed_origins))
    return canonical_paths(behind_proxies(door(answering, app.state.meter), settings.trusted_proxies))


def _before_token() -> Router:
    return Router("/", route_handlers=WITHOUT_TOKEN, before_request=ahead(one_effect))


def _behind_token() -> Router:
    guarded = ahead(requires_token, one_effect)
    return Router("/", route_handlers=WITH_TOKEN, before_request=guarded, security=[{SCHEME: []}])


def _behind_role() -> Router:
    guarded = ahead(requires_token, requires_admin, one_effect)
    return Router(
        "/", route_handlers=[*with_ids(FOR_ADMINS)], before_request=guarded, security=[{SCHEME: []}]
    )


def _openapi(settings: Settings) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="画卷 huajuan",
        version="0.1.0",
        description=ABOUT,
        tags=TAGS,
        components=COMPONENTS,
        path=PATH,
        servers=[Server(url=public_path(settings.public_address) or "/")],
        openapi_router=page_router(),
        render_plugins=[ApiPage(), Document(DOCUMENT, settings.list_rows_max)],
        use_handler_docstrings=True,
    )


@asynccontextmanager
async def _desk_open(app: Litestar, open_desk: OpenDesk) -> AsyncIterator[None]:
    async with open_desk() as desk, running(keep_refreshing(app.state.meter, desk)):
        app.state.desk = desk
        desk.room.count_outcome = app.state.meter.count_drawing
        yield


def _desk(request: Request[Any, Any, Any]) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _me(request: Request[Any, Any, Any], desk: AtDesk) -> Claims:
    """Behind the desk, for two that wait for nothing of each other would be two tasks to the framework."""
    claims: Claims = request.scope["state"]["claims"]
    return claims
