"""The GET routes whose replies are cached, and the read tables that each reply is made of."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from litestar import Litestar
from litestar.types import ASGIApp

from huajuan.auth.sessions import TokenExpired, TokenInvalid
from huajuan.http.middleware.compression import coding_for
from huajuan.http.middleware.guards import token_in
from huajuan.http.services import Services
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.history import HISTORY
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.users import USERS
from huajuan.response_cache.cache import ResponseCache, Source, cache_responses

OWN, ANY = True, False
CACHED_ROUTES: Mapping[str, tuple[Source, ...]] = {
    "/auth/user/info": (Source(USERS.schema, OWN), Source(POINT_BALANCES.schema, OWN)),
    "/auth/user/images": (Source(HISTORY.schema, OWN), Source(USERS.schema, OWN)),
    "/auth/user/favoritedimages": (
        Source(FAVORITES.schema, OWN),
        Source(HISTORY.schema, ANY),
        Source(USERS.schema, ANY),
    ),
}


def cache_reads(app: ASGIApp, litestar: Litestar) -> ASGIApp:
    def find_cache(scope: Any) -> tuple[ResponseCache, UUID | None]:
        services: Services = litestar.state.services
        return services.response_cache, _find_account(services, scope)

    return cache_responses(app, CACHED_ROUTES, find_cache, coding_for)


def _find_account(services: Services, scope: Any) -> UUID | None:
    """The account of a valid token that this worker has looked up before; the guard checks all others."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return None
    try:
        claims = services.tokens.verify(token_in(values[0].decode("latin-1")))
    except (TokenExpired, TokenInvalid):
        return None
    return claims.account_id if services.sessions.is_admitted_from_cache(claims.jti) else None
