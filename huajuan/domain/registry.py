"""The list of all aggregate classes. Importing it registers the class of each event topic."""

from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.aggregate import AggregateRoot
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.image import Image
from huajuan.domain.inference_servers import InferenceServers
from huajuan.domain.like_and_favorite import Favorite, Like
from huajuan.domain.read_table import ReadTable

AGGREGATES: tuple[type[AggregateRoot], ...] = (
    Account,
    EmailClaim,
    Image,
    Like,
    Favorite,
    Admin,
    ReadTable,
    InferenceServers,
)
