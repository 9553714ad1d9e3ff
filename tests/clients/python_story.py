"""A program that uses the generated Python client: `python python_story.py ADDRESS ADMIN PASSWORD`.

The client's package is made by the test, which also has mypy check this file against it.
"""

import json
import sys
from datetime import UTC
from http import HTTPStatus
from io import BytesIO
from typing import Any, TypeVar

from huajuan_client import AuthenticatedClient, Client
from huajuan_client.api.account import get_user_info, login, register
from huajuan_client.api.admin import get_timeline, statistics
from huajuan_client.api.drawing import follow_generation, generate, get_generation, list_generations
from huajuan_client.api.favorites import add_favorite, list_favorites
from huajuan_client.api.images import (
    delete_images,
    images_key_get_picture,
    list_own_images,
    restore_images,
)
from huajuan_client.api.likes import like
from huajuan_client.api.operations import readiness
from huajuan_client.api.points import auth_score_get_score, list_point_history
from huajuan_client.models.accepted_response import AcceptedResponse
from huajuan_client.models.add_favorite_favorite_form_by_id import AddFavoriteFavoriteFormById
from huajuan_client.models.change_on_wire_status_type_0 import ChangeOnWireStatusType0
from huajuan_client.models.delete_images_images_form_by_ids import DeleteImagesImagesFormByIds
from huajuan_client.models.favorites_response import FavoritesResponse
from huajuan_client.models.generate_image_parameters_form import GenerateImageParametersForm
from huajuan_client.models.generated_response import GeneratedResponse
from huajuan_client.models.image_on_wire_sampling_method import ImageOnWireSamplingMethod
from huajuan_client.models.images_response import ImagesResponse
from huajuan_client.models.job_response import JobResponse
from huajuan_client.models.job_response_status import JobResponseStatus
from huajuan_client.models.jobs_response import JobsResponse
from huajuan_client.models.like_picture_form import LikePictureForm
from huajuan_client.models.liked_response import LikedResponse
from huajuan_client.models.line_on_wire_event import LineOnWireEvent
from huajuan_client.models.login_login_form import LoginLoginForm
from huajuan_client.models.login_response import LoginResponse
from huajuan_client.models.message_response import MessageResponse
from huajuan_client.models.point_history_response import PointHistoryResponse
from huajuan_client.models.ready_response import ReadyResponse
from huajuan_client.models.register_register_form import RegisterRegisterForm
from huajuan_client.models.restore_images_images_form_by_urls import RestoreImagesImagesFormByUrls
from huajuan_client.models.score_response import ScoreResponse
from huajuan_client.models.statistics_response import StatisticsResponse
from huajuan_client.models.timeline_response import TimelineResponse
from huajuan_client.models.user_response import UserResponse
from huajuan_client.types import File

T = TypeVar("T")


def parsed(reply: Any, kind: type[T], status: HTTPStatus = HTTPStatus.OK) -> T:
    """The reply as the model that the document promises."""
    if reply.status_code != status or not isinstance(reply.parsed, kind):
        sys.exit(f"{reply.status_code} {reply.parsed!r} is no {kind.__name__}")
    return reply.parsed


def logged_in(address: str, username: str, password: str) -> AuthenticatedClient:
    client = Client(base_url=address)
    form = LoginLoginForm(username=username, password=password)
    token = parsed(login.sync_detailed(client=client, body=form), LoginResponse).token
    return AuthenticatedClient(base_url=address, token=token, prefix="")


def an_account(address: str) -> AuthenticatedClient:
    client = Client(base_url=address)
    form = RegisterRegisterForm(email="3@qq.com", username="czh0", password="123456")
    parsed(register.sync_detailed(client=client, body=form), MessageResponse)
    me = logged_in(address, "czh0", "123456")
    parsed(auth_score_get_score.sync_detailed(client=me), ScoreResponse)
    return me


def draw(me: AuthenticatedClient) -> GeneratedResponse:
    order = GenerateImageParametersForm(prompt="sun", width=220, height=200, steps=30, seed="7")
    made = parsed(generate.sync_detailed(client=me, body=order), GeneratedResponse)
    (image,) = parsed(list_own_images.sync_detailed(client=me), ImagesResponse).images
    assert (image.id, image.generation_id) == (made.id, made.generation_id)
    assert image.sampling_method is ImageOnWireSamplingMethod.DDIM
    assert image.create_time.utcoffset() == UTC.utcoffset(None)
    key = image.picture.rpartition("/")[2]
    file = parsed(images_key_get_picture.sync_detailed(key, client=me), File)
    assert isinstance(file.payload, BytesIO)
    assert file.payload.read(8) == b"\x89PNG\r\n\x1a\n"
    return made


def follow(me: AuthenticatedClient) -> None:
    order = GenerateImageParametersForm(prompt="moon", width=128, height=128, steps=1, seed=7)
    asked = parsed(
        generate.sync_detailed(client=me, body=order, prefer="respond-async"),
        AcceptedResponse,
        HTTPStatus.ACCEPTED,
    )
    stream = parsed(follow_generation.sync_detailed(asked.id, client=me), str)
    states = [frame for frame in stream.split("\n\n") if "event: state" in frame]
    last = json.loads(states[-1].partition("data: ")[2])
    job = parsed(get_generation.sync_detailed(asked.id, client=me), JobResponse)
    assert job.status is JobResponseStatus.SUCCEEDED
    assert last["image_id"] == job.image_id
    newest = parsed(list_generations.sync_detailed(client=me), JobsResponse).generations[0]
    assert newest.id == job.id


def keep(me: AuthenticatedClient, made: GeneratedResponse) -> None:
    liked = parsed(like.sync_detailed(client=me, body=LikePictureForm(url=made.image_url)), LikedResponse)
    assert liked.current_likes == 1
    parsed(
        add_favorite.sync_detailed(client=me, body=AddFavoriteFavoriteFormById(id=made.id)), MessageResponse
    )
    (favorite,) = parsed(list_favorites.sync_detailed(client=me), FavoritesResponse).images
    assert (favorite.image_id, favorite.generation_id) == (made.id, made.generation_id)
    parsed(
        delete_images.sync_detailed(client=me, body=DeleteImagesImagesFormByIds(ids=[made.id])),
        MessageResponse,
    )
    urls = RestoreImagesImagesFormByUrls(urls=[made.image_url])
    parsed(restore_images.sync_detailed(client=me, body=urls), MessageResponse)


def account_for(me: AuthenticatedClient, made: GeneratedResponse) -> None:
    history = parsed(list_point_history.sync_detailed(client=me), PointHistoryResponse).history
    first = history[-2]
    assert (first.reason, first.generation_id, first.image_id) == ("held", made.generation_id, made.id)
    assert first.status is ChangeOnWireStatusType0.SETTLED
    assert history[-1].status is None
    user = parsed(get_user_info.sync_detailed(client=me), UserResponse).user
    assert user.score == history[0].balance == 60


def administer(me: AuthenticatedClient, admin: AuthenticatedClient) -> None:
    parsed(statistics.sync_detailed(client=me), MessageResponse, HTTPStatus.FORBIDDEN)
    assert (
        sum(day.pictures for day in parsed(statistics.sync_detailed(client=admin), StatisticsResponse).days)
        == 2
    )
    lines = parsed(get_timeline.sync_detailed("czh0", client=admin), TimelineResponse).timeline
    assert LineOnWireEvent.IMAGE_DRAWN in [line.event for line in lines]
    assert parsed(readiness.sync_detailed(client=admin), ReadyResponse).database


def main(address: str, admin: str, password: str) -> None:
    me = an_account(address)
    made = draw(me)
    follow(me)
    keep(me, made)
    account_for(me, made)
    administer(me, logged_in(address, admin, password))


if __name__ == "__main__":
    main(*sys.argv[1:])
