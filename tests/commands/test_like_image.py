"""Likes and favorites under races, and of pictures that are not there."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from huajuan.commands.delete_images import delete_images
from huajuan.commands.favorite_image import favorite_image
from huajuan.commands.like_image import like_image
from huajuan.commands.unfavorite_image import unfavorite_image
from huajuan.commands.unlike_image import unlike_image
from huajuan.domain.refusals import AlreadyFavorite, AlreadyLiked, ImageNotFound, NotFavorite, NotLiked
from huajuan.http.services import Desk
from huajuan.projections.history import HISTORY, likes_of
from tests.commands.people import a_person, a_picture
from tests.services import desk_on


async def a_shown_image(desk: Desk) -> UUID:
    picture = (await a_picture(desk, await a_person(desk, "maker", check_ins=1))).picture
    assert picture
    return UUID(picture.removesuffix(".png"))


async def test_8_users_at_once_count_8(database_url: str) -> None:
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        image = await a_shown_image(here)
        people = [await a_person(here, f"p{n}") for n in range(8)]
        liked = await asyncio.gather(
            *(like_image((here, there)[n % 2].store, person, image) for n, person in enumerate(people))
        )
        await here.show(max(decided.position for decided in liked), HISTORY)
        assert await likes_of(here.tables, image) == 8


async def test_16_identical_likes_count_1(database_url: str) -> None:
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        image, ann = await a_shown_image(here), await a_person(here)
        likes = [like_image(desk.store, ann, image) for _ in range(8) for desk in (here, there)]
        results = await asyncio.gather(*likes, return_exceptions=True)
        assert sum(isinstance(r, AlreadyLiked) for r in results) == 15
        await here.show(max(r.position for r in results if not isinstance(r, BaseException)), HISTORY)
        assert await likes_of(here.tables, image) == 1


async def test_a_like_is_taken_back_and_given_again(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        image, ann = await a_shown_image(desk), await a_person(desk)
        with pytest.raises(NotLiked):
            await unlike_image(desk.store, ann, image)
        await like_image(desk.store, ann, image)
        await unlike_image(desk.store, ann, image)
        with pytest.raises(NotLiked):
            await unlike_image(desk.store, ann, image)
        await desk.show((await like_image(desk.store, ann, image)).position, HISTORY)
        assert await likes_of(desk.tables, image) == 1


async def test_a_favorite_is_kept_once(database_url: str) -> None:
    async with desk_on(database_url) as here, desk_on(database_url) as there:
        image, ann = await a_shown_image(here), await a_person(here)
        asked = [favorite_image(desk.store, ann, image) for _ in range(4) for desk in (here, there)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(r, AlreadyFavorite) for r in results) == 7
        await unfavorite_image(here.store, ann, image)
        with pytest.raises(NotFavorite):
            await unfavorite_image(there.store, ann, image)


async def test_what_is_not_there_cannot_be_liked_or_kept(database_url: str) -> None:
    async with desk_on(database_url) as desk:
        ann = await a_person(desk)
        for command in (like_image, unlike_image, favorite_image):
            with pytest.raises(ImageNotFound):
                await command(desk.store, ann, uuid4())


async def test_an_image_that_another_process_deleted_just_now_is_not_liked(database_url: str) -> None:
    """Although it was seen here a moment ago, and by somebody who likes it as ever."""
    async with desk_on(database_url) as here, desk_on(database_url) as elsewhere:
        ann, ben = await a_person(here, "ann", check_ins=1), await a_person(here, "ben")
        picture = (await a_picture(here, ann)).picture
        image = UUID((picture or "").removesuffix(".png"))
        await like_image(here.store, ann, image)
        await delete_images(elsewhere.store, elsewhere.trash, ann, [image], timedelta(days=1))
        for account, verb in ((ben, like_image), (ann, unlike_image), (ben, favorite_image)):
            with pytest.raises(ImageNotFound):
                await verb(here.store, account, image)
