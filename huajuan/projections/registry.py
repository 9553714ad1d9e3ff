"""All projections. A new one is added here, and is built from the first event at the next start."""

from huajuan.projections.daily_statistics import DAILY_STATISTICS
from huajuan.projections.favorites import FAVORITES
from huajuan.projections.generations import GENERATIONS
from huajuan.projections.history import HISTORY
from huajuan.projections.likes import LIKES
from huajuan.projections.pending_accounts import PENDING_ACCOUNTS
from huajuan.projections.point_balances import POINT_BALANCES
from huajuan.projections.point_history import POINT_HISTORY
from huajuan.projections.users import USERS

PROJECTIONS = (
    USERS,
    POINT_BALANCES,
    POINT_HISTORY,
    HISTORY,
    GENERATIONS,
    LIKES,
    FAVORITES,
    DAILY_STATISTICS,
    PENDING_ACCOUNTS,
)
SCHEMAS = tuple(projection.schema for projection in PROJECTIONS)
