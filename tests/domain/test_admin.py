"""The admin role: granted and revoked in turn, each time with a reason."""

from uuid import UUID

from huajuan.domain.admin import Admin
from huajuan.domain.refusals import AlreadyAdmin, NotAdmin
from tests.story import Story

ID, ANN = UUID(int=1), UUID(int=2)


def granted() -> Story[Admin]:
    return Story(lambda: Admin.begin(ID, ANN, "runs the service"))


def test_the_role_is_granted_once() -> None:
    granted().refuses(AlreadyAdmin, lambda admin: admin.grant("again"))


def test_the_role_is_revoked_once() -> None:
    story = granted().when(lambda admin: admin.revoke("on leave"))
    story.then(("admin.revoked", {"account_id": ANN, "reason": "on leave"}))
    story.refuses(NotAdmin, lambda admin: admin.revoke("twice"))


def test_the_role_can_be_granted_again() -> None:
    granted().given(lambda admin: admin.revoke("on leave")).when(lambda admin: admin.grant("is back")).then(
        ("admin.granted_again", {"account_id": ANN, "reason": "is back"})
    )
