"""What an avatar's address may be."""

import re
from urllib.parse import urlsplit

from huajuan.domain.refusals import AvatarUnfit

URL_CHARACTERS_MAX = 255
# A picture of ours, whatever public address the service has.
OWN_PATH = re.compile(r"/(?:images|avatars)/[0-9a-f]{32}\.png")


def check_avatar(url: str) -> None:
    """Nothing, the path of a picture of ours, or an address of the web up to 255 characters."""
    if (
        url
        and not OWN_PATH.fullmatch(url)
        and not (len(url) <= URL_CHARACTERS_MAX and url.isprintable() and _leads_somewhere(url))
    ):
        raise AvatarUnfit


def _leads_somewhere(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(parts.hostname) and " " not in url
    return False
