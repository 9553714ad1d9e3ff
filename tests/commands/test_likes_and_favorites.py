"""Likes and favorites in races, and of images that are not visible."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from huajuan.commands.images import delete_images
from huajuan.commands.likes_and_favorites import favorite_image, like_image, unfavorite_image, unlike_image
from huajuan.domain.refusals import AlreadyFavorite, AlreadyLiked, ImageNotFound, NotFavorite, NotLiked
from huajuan.http.services import Services
from huajuan.projections.history import HISTORY, like_count
from tests.commands.people import a_person, a_picture
from tests.services import services_on


async def a_visible_image(services: Services) -> UUID:
    picture = (await a_picture(services, await a_person(services, "maker", check_ins=1))).picture
    assert picture
    return UUID(picture.removesuffix(".png"))


async def test_likes_of_8_concurrent_users_count_8(database_url: str) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        image = await a_visible_image(here)
        people = [await a_person(here, f"p{n}") for n in range(8)]
        liked = await asyncio.gather(
            *(like_image((here, there)[n % 2].store, person, image) for n, person in enumerate(people))
        )
        await here.read_your_writes.wait_for(max(decided.position for decided in liked), HISTORY)
        assert await like_count(here.tables, image) == 8


async def test_16_identical_likes_count_1(database_url: str) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        image, ann = await a_visible_image(here), await a_person(here)
        likes = [like_image(services.store, ann, image) for _ in range(8) for services in (here, there)]
        results = await asyncio.gather(*likes, return_exceptions=True)
        assert sum(isinstance(r, AlreadyLiked) for r in results) == 15
        await here.read_your_writes.wait_for(
            max(r.position for r in results if not isinstance(r, BaseException)), HISTORY
        )
        assert await like_count(here.tables, image) == 1


async def test_a_like_is_taken_back_and_given_again(database_url: str) -> None:
    async with services_on(database_url) as services:
        image, ann = await a_visible_image(services), await a_person(services)
        with pytest.raises(NotLiked):
            await unlike_image(services.store, ann, image)
        await like_image(services.store, ann, image)
        await unlike_image(services.store, ann, image)
        with pytest.raises(NotLiked):
            await unlike_image(services.store, ann, image)
        await services.read_your_writes.wait_for(
            (await like_image(services.store, ann, image)).position, HISTORY
        )
        assert await like_count(services.tables, image) == 1


async def test_a_favorite_is_added_once(database_url: str) -> None:
    async with services_on(database_url) as here, services_on(database_url) as there:
        image, ann = await a_visible_image(here), await a_person(here)
        asked = [favorite_image(services.store, ann, image) for _ in range(4) for services in (here, there)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(r, AlreadyFavorite) for r in results) == 7
        await unfavorite_image(here.store, ann, image)
        with pytest.raises(NotFavorite):
            await unfavorite_image(there.store, ann, image)


async def test_a_missing_image_cannot_be_liked_or_favorited(database_url: str) -> None:
    async with services_on(database_url) as services:
        ann = await a_person(services)
        for command in (like_image, unlike_image, favorite_image):
            with pytest.raises(ImageNotFound):
                await command(services.store, ann, uuid4())


async def test_an_image_deleted_in_another_process_cannot_be_liked(database_url: str) -> None:
    """Although this process has the image and the like in its cache."""
    async with services_on(database_url) as here, services_on(database_url) as elsewhere:
        ann, ben = await a_person(here, "ann", check_ins=1), await a_person(here, "ben")
        picture = (await a_picture(here, ann)).picture
        image = UUID((picture or "").removesuffix(".png"))
        await like_image(here.store, ann, image)
        await delete_images(elsewhere.store, elsewhere.deleted_pictures, ann, [image], timedelta(days=1))
        for account, verb in ((ben, like_image), (ann, unlike_image), (ben, favorite_image)):
            with pytest.raises(ImageNotFound):
                await verb(here.store, account, image)
