"""What an avatar's address may be."""

from urllib.parse import urlsplit

from huajuan.domain.refusals import AvatarUnfit

URL_CHARACTERS_MAX = 255


def check_avatar(url: str) -> None:
    """Nothing, or an address of the web up to 255 characters; a path of our own begins with one slash."""
    if url and not (len(url) <= URL_CHARACTERS_MAX and url.isprintable() and _leads_somewhere(url)):
        raise AvatarUnfit


def _leads_somewhere(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(parts.hostname) and " " not in url
    return False
