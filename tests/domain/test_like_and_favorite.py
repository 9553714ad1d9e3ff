"""Likes and favorites: one for each account and picture, given and taken back in turn."""

from uuid import UUID

from huajuan.domain.like_and_favorite import Favorite, Like
from huajuan.domain.refusals import AlreadyFavorite, AlreadyLiked, NotFavorite, NotLiked
from tests.story import Story

ID, ANN, PICTURE = UUID(int=1), UUID(int=2), UUID(int=3)
PAIR = {"account_id": ANN, "image_id": PICTURE}


def liked() -> Story[Like]:
    return Story(lambda: Like.begin(ID, ANN, PICTURE))


def favored() -> Story[Favorite]:
    return Story(lambda: Favorite.begin(ID, ANN, PICTURE))


def test_a_like_is_given_once() -> None:
    liked().refuses(AlreadyLiked, lambda like: like.give())


def test_a_like_is_taken_back_once() -> None:
    story = liked().when(lambda like: like.take_back())
    story.then(("like.taken_back", PAIR))
    story.refuses(NotLiked, lambda like: like.take_back())


def test_a_like_taken_back_can_be_given_again() -> None:
    liked().given(lambda like: like.take_back()).when(lambda like: like.give()).then(
        ("like.given_again", PAIR)
    )


def test_a_favorite_is_added_once() -> None:
    favored().refuses(AlreadyFavorite, lambda favorite: favorite.add())


def test_a_favorite_is_removed_once_and_can_be_added_again() -> None:
    story = favored().when(lambda favorite: favorite.remove())
    story.then(("favorite.removed", PAIR))
    story.refuses(NotFavorite, lambda favorite: favorite.remove())
    story.when(lambda favorite: favorite.add()).then(("favorite.added_again", PAIR))


def test_a_like_and_a_favorite_are_withdrawn_once() -> None:
    like, favorite = liked().when(Like.withdraw), favored().when(Favorite.withdraw)
    like.then(("like.taken_back", PAIR))
    favorite.then(("favorite.removed", PAIR))
    like.when(Like.withdraw).then()
    favorite.when(Favorite.withdraw).then()
