"""Every kind of aggregate there is. Whoever reads the log imports this, so that each event has its class."""

from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.aggregate import Entity
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.favorite import Favorite
from huajuan.domain.image import Image
from huajuan.domain.inference_servers import Studio
from huajuan.domain.like import Like
from huajuan.domain.read_table import ReadTable

KINDS: tuple[type[Entity], ...] = (Account, EmailClaim, Image, Like, Favorite, Admin, ReadTable, Studio)
