"""Cancel an image that is not drawn yet: its points go back, and whoever draws it stops."""

from uuid import UUID

from huajuan.domain.image import Image
from huajuan.domain.refusals import ImageNotFound
from huajuan.jobs.outcomes import Ending
from huajuan.jobs.runner import DrawingRoom

CANCELLED = "cancelled"


async def cancel_image(room: DrawingRoom, account_id: UUID, image_id: UUID) -> Ending:
    """By its owner alone; to anybody else it is not there. One that has ended stays as it is.

    Raises `ImageNotFound` and `LogError`.
    """
    image = await room.store.find(Image, image_id)
    if image is None or image.account_id != account_id or image.is_erased:
        raise ImageNotFound
    return await room.closing.cancel(image, CANCELLED)
