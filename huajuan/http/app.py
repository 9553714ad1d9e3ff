"""The route table, and the application: its routes behind its middleware."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from litestar import Litestar
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Server
from litestar.types import ASGIApp

from huajuan.http.middleware.cached_reads import cache_reads
from huajuan.http.middleware.compression import compress_responses
from huajuan.http.middleware.cors import cors
from huajuan.http.middleware.exceptions import EXCEPTION_HANDLERS
from huajuan.http.middleware.idempotency import ReplayedResponse, on_replayed, store_keyed_responses
from huajuan.http.middleware.normalization import canonical_paths, head_as_get, resolve_client
from huajuan.http.middleware.request_id import identify_requests
from huajuan.http.middleware.request_metrics import WorkerMetrics
from huajuan.http.openapi.api_page import DOCUMENT, PATH, ApiPage, page_router, redirect_to_page
from huajuan.http.openapi.document import ABOUT, COMPONENTS, TAGS, OpenApiDocument
from huajuan.http.routes import (
    accounts,
    admin,
    gallery,
    generation_events,
    generations,
    health,
    images,
    likes_and_favorites,
    pictures,
    points,
    profile,
)
from huajuan.http.routes.route import Access, Route, litestar_handlers
from huajuan.http.services import Services
from huajuan.http.urls import public_path
from huajuan.runtime.periodic import running
from huajuan.settings import Settings

PUBLIC, USER, ADMIN = Access
ROUTES = (
    Route("POST", "/register", accounts.register, PUBLIC),
    Route("POST", "/login", accounts.login, PUBLIC),
    Route("POST", "/auth/logout", accounts.log_out, USER),
    Route("GET", "/auth/user/info", accounts.get_user_info, USER),
    Route("PUT", "/auth/user/update", profile.update_user, USER),
    Route("POST", "/auth/setavatar", profile.change_avatar, USER),
    Route("POST", "/auth/setavator", profile.change_avatar, USER),
    Route("GET", "/auth/getavatar", profile.avatar, USER),
    Route("GET", "/auth/getavator", profile.avatar, USER),
    Route("POST", "/auth/uploadavatar", profile.upload_avatar, USER),
    Route("GET HEAD", "/avatars/{key}", profile.avatar_picture, PUBLIC),
    Route("DELETE", "/auth/root/deleteOneUser", accounts.erase_account, USER),
    Route("GET", "/user/all", profile.list_users, PUBLIC),
    Route("GET POST", "/auth/score", points.score, USER),
    Route("GET", "/auth/points", points.get_points, USER),
    Route("GET", "/auth/points/history", points.list_point_history, USER),
    Route("POST", "/auth/generate", generations.generate, USER),
    Route("GET", "/auth/generations", generations.list_generations, USER),
    Route("GET", "/auth/generations/{generation}", generations.get_generation, USER),
    Route("DELETE", "/auth/generations/{generation}", generations.cancel_generation, USER),
    Route("GET", "/auth/generations/{generation}/events", generation_events.follow_generation, USER),
    Route("GET", "/image/all", images.list_images, PUBLIC),
    Route("GET", "/auth/user/images", images.list_own_images, USER),
    Route("GET", "/auth/user/images/timeRange", images.list_own_images_of_time, USER),
    Route("GET", "/auth/image", images.get_image, USER),
    Route("GET", "/auth/imageSquare", gallery.square, USER),
    Route("GET", "/auth/image/feature", gallery.search_images, USER),
    Route("POST", "/auth/user/deleteImages", gallery.delete_images, USER),
    Route("POST", "/auth/user/restoreImages", gallery.restore_images, USER),
    Route("GET HEAD", "/images/{key}", pictures.picture, PUBLIC),
    Route("POST", "/auth/like", likes_and_favorites.like, USER),
    Route("DELETE", "/auth/like", likes_and_favorites.unlike, USER),
    Route("GET", "/auth/user/favoritedimages", likes_and_favorites.list_favorites, USER),
    Route("POST", "/auth/addFavoritedImage", likes_and_favorites.add_favorite, USER),
    Route("DELETE", "/auth/deleteFavoritedImage", likes_and_favorites.remove_favorite, USER),
    Route("GET", "/healthz", health.health, PUBLIC),
    Route("GET", "/readyz", health.readiness, PUBLIC),
    Route("GET", "/metrics", health.metrics, PUBLIC),
    Route("GET", "/admin/inference-servers", admin.inference_servers.list_inference_servers, ADMIN),
    Route("POST", "/admin/inference-servers", admin.inference_servers.add_inference_server, ADMIN),
    Route("POST", "/admin/inference-servers/remove", admin.inference_servers.remove_inference_server, ADMIN),
    Route("GET", "/admin/projections", admin.projections.list_projections, ADMIN),
    Route("POST", "/admin/projections/{name}/rebuild", admin.projections.rebuild, ADMIN),
    Route("POST", "/admin/projections/{name}/skip", admin.projections.skip_event, ADMIN),
    Route("GET", "/admin/statistics", admin.statistics.statistics, ADMIN),
    Route("POST", "/admin/verify", admin.verify.verify, ADMIN),
    Route("GET", "/admin/users/pending", admin.moderation.list_pending_users, ADMIN),
    # Each of these routes also exists as `/admin/users/id/{id}/…`.
    Route("POST", "/admin/users/{username}/approve", admin.moderation.approve, ADMIN),
    Route("POST", "/admin/users/{username}/reject", admin.moderation.reject, ADMIN),
    Route("POST", "/admin/users/{username}/points", admin.moderation.adjust_points, ADMIN),
    Route("POST", "/admin/users/{username}/ban", admin.moderation.ban, ADMIN),
    Route("POST", "/admin/users/{username}/unban", admin.moderation.unban, ADMIN),
    Route("POST", "/admin/users/{username}/check-in/reset", admin.moderation.reset_check_in, ADMIN),
    Route("GET", "/admin/users/{username}/points", admin.points.replay_points, ADMIN),
    Route("GET", "/admin/users/{username}/timeline", admin.past.get_timeline, ADMIN),
    Route("GET", "/admin/users/{username}/profile", admin.past.get_profile_as_of, ADMIN),
    Route("GET", "/admin/users/{username}/gallery", admin.past.get_gallery_as_of, ADMIN),
)
# Made once a process: they do not depend on settings.
_HANDLERS = litestar_handlers(ROUTES)
OpenServices = Callable[[], AbstractAsyncContextManager[Services]]


def create_app(settings: Settings, open_services: OpenServices) -> ASGIApp:
    """The application. Its services are opened when the server starts and closed when it stops."""
    app = Litestar(
        route_handlers=[*_HANDLERS, redirect_to_page],
        exception_handlers={**EXCEPTION_HANDLERS, ReplayedResponse: on_replayed},
        lifespan=[lambda app: _running_services(app, open_services)],
        openapi_config=_openapi(settings),
        request_max_body_size=settings.body_bytes_max,
        logging_config=None,
    )
    app.state.metrics = WorkerMetrics()
    cached = cache_reads(compress_responses(store_keyed_responses(app), static_path=PATH), app)
    with_cors = head_as_get(cors(cached, settings.allowed_origins))
    identified = identify_requests(with_cors, app.state.metrics)
    return canonical_paths(resolve_client(identified, settings.trusted_proxies))


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
        render_plugins=[ApiPage(), OpenApiDocument(DOCUMENT, settings.list_rows_max)],
        use_handler_docstrings=True,
    )


@asynccontextmanager
async def _running_services(app: Litestar, open_services: OpenServices) -> AsyncIterator[None]:
    async with open_services() as services:
        app.state.services = services
        services.job_runner.count_outcome = app.state.metrics.count_drawing
        async with running(health.run_metrics_refresh(app.state.metrics, services)):
            yield
