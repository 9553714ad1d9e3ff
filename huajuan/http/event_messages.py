"""The events of an account as sentences, in Chinese and in English."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from huajuan.audit.past import TimelineEvent
from huajuan.domain.account import Account
from huajuan.domain.admin import Admin
from huajuan.domain.email_claim import EmailClaim
from huajuan.domain.image import Image
from huajuan.domain.like_and_favorite import Favorite, Like
from huajuan.event_store import personal_keys
from huajuan.http.serializers import Moment, wire_time
from huajuan.http.urls import current_url


class Sentence(NamedTuple):
    """Two templates. The fields of the event and `image`, the label of the picture, stand in braces."""

    zh: str
    en: str


_LIKED = Sentence("点赞了图片 {image}", "liked image {image}")
_FAVORITE = Sentence("收藏了图片 {image}", "added image {image} to the favorites")
_CLAIMED = Sentence("占用了一个邮箱地址", "claimed an e-mail address")
_ADMIN = Sentence("被授予管理员权限：{reason}", "was made an admin: {reason}")

SENTENCES: Mapping[type[Any], Sentence] = {
    Account.Registered: Sentence(
        "以用户名 {username}、邮箱 {email} 注册", "registered as {username} with the e-mail address {email}"
    ),
    Account.PasswordChanged: Sentence("修改了密码", "changed the password"),
    Account.EmailChanged: Sentence("将邮箱改为 {email}", "changed the e-mail address to {email}"),
    Account.AvatarChanged: Sentence("将头像改为 {url}", "changed the avatar to {url}"),
    Account.PointsGranted: Sentence(
        "获得 {points} 积分，余额 {balance}：{reason}",
        "was granted {points} points, balance {balance}: {reason}",
    ),
    Account.CheckedIn: Sentence(
        "为 {day} 签到，获得 {points} 积分，余额 {balance}",
        "checked in for {day} and got {points} points, balance {balance}",
    ),
    Account.CheckInReset: Sentence(
        "签到记录被重置，可重新签到：{reason}", "had the check-in reset and may check in again: {reason}"
    ),
    Account.PointsHeld: Sentence(
        "为图片 {image} 冻结 {points} 积分，余额 {balance}",
        "had {points} points held for image {image}, balance {balance}",
    ),
    Account.PointsSettled: Sentence(
        "为图片 {image} 支付 {points} 积分", "paid {points} points for image {image}"
    ),
    Account.PointsReturned: Sentence(
        "图片 {image} 的 {points} 积分已退回，余额 {balance}：{reason}",
        "got {points} points back for image {image}, balance {balance}: {reason}",
    ),
    Account.PointsDeducted: Sentence(
        "被扣除 {points} 积分，余额 {balance}：{reason}", "lost {points} points, balance {balance}: {reason}"
    ),
    Account.Banned: Sentence("被封禁：{reason}", "was banned: {reason}"),
    Account.Unbanned: Sentence("被解除封禁：{reason}", "was unbanned: {reason}"),
    Account.ApprovalRequested: Sentence(
        "注册待管理员批准，批准后获得 {welcome_points} 欢迎积分",
        "waits for an admin's approval, with {welcome_points} welcome points to come",
    ),
    Account.Approved: Sentence("注册已获批准：{reason}", "was approved: {reason}"),
    Account.Rejected: Sentence("注册被拒绝：{reason}", "was rejected: {reason}"),
    Account.Erased: Sentence(
        "账号已注销，作废可用积分 {available}、冻结积分 {held}",
        "was erased and forfeited {available} available and {held} held points",
    ),
    EmailClaim.Claimed: _CLAIMED,
    EmailClaim.ClaimedAgain: _CLAIMED,
    EmailClaim.Released: Sentence("放弃了一个邮箱地址", "gave an e-mail address up"),
    Image.Requested: Sentence(
        "请求生成图片 {image}：{prompt}（{width}×{height}，{steps} 步，{sampling_method}，种子 {seed}）",
        "asked for image {image}: {prompt} ({width}×{height}, {steps} steps, {sampling_method}, seed {seed})",
    ),
    Image.Drawn: Sentence("图片 {image} 已生成", "image {image} was drawn"),
    Image.DrawingFailed: Sentence(
        "图片 {image} 生成失败：{reason}", "image {image} could not be drawn: {reason}"
    ),
    Image.Started: Sentence(
        "图片 {image} 开始生成（第 {attempt} 次）", "image {image} began to be drawn (attempt {attempt})"
    ),
    Image.Cancelled: Sentence(
        "图片 {image} 的生成已取消：{reason}", "the drawing of image {image} was cancelled: {reason}"
    ),
    Image.Deleted: Sentence(
        "删除了图片 {image}，可恢复至 {until}", "deleted image {image}, which can be restored until {until}"
    ),
    Image.Restored: Sentence("恢复了图片 {image}", "restored image {image}"),
    Image.Swept: Sentence("图片 {image} 的文件已清除", "the file of image {image} was removed for good"),
    Image.Erased: Sentence("图片 {image} 随账号注销而删除", "image {image} was erased with its owner"),
    Like.Given: _LIKED,
    Like.GivenAgain: _LIKED,
    Like.TakenBack: Sentence("取消了对图片 {image} 的点赞", "took back the like of image {image}"),
    Favorite.Added: _FAVORITE,
    Favorite.AddedAgain: _FAVORITE,
    Favorite.Removed: Sentence("将图片 {image} 移出收藏", "removed image {image} from the favorites"),
    Admin.Granted: _ADMIN,
    Admin.GrantedAgain: _ADMIN,
    Admin.Revoked: Sentence("被撤销管理员权限：{reason}", "lost the admin role: {reason}"),
}
AVATAR_REMOVED = Sentence("移除了头像", "took the avatar away")
AVATAR_ERASED = Sentence("更换或移除了头像（已抹除）", "changed the avatar or took it away (erased)")
ERASED = Sentence("（已抹除）", personal_keys.ERASED)
BY_ANOTHER = Sentence("（操作者：{actor}）", " (by {actor})")


def sentence_of(happened: TimelineEvent, addresses: Sequence[str] = ()) -> Sentence:
    """Erased personal data is marked as erased; the actor is named if it was another account."""
    sentence = _sentence(happened, addresses)
    if happened.actor is None or happened.is_own_action:
        return sentence
    zh, en = (text.format(actor=happened.actor) for text in BY_ANOTHER)
    return Sentence(sentence.zh + zh, sentence.en + en)


def _sentence(happened: TimelineEvent, addresses: Sequence[str]) -> Sentence:
    event = happened.event
    if isinstance(event, Account.AvatarChanged) and not event.url:
        return AVATAR_ERASED if event.url is None else AVATAR_REMOVED
    zh, en = SENTENCES[type(event)]
    fields = {name: _plain(value) for name, value in vars(event).items()} | {"image": image_label(happened)}
    if isinstance(event, Account.AvatarChanged) and event.url:
        fields["url"] = current_url(event.url, addresses)
    return Sentence(
        zh.format_map(_with_erased(fields, ERASED.zh)), en.format_map(_with_erased(fields, ERASED.en))
    )


def image_label(happened: TimelineEvent) -> str:
    """The picture's id in lists, or else the first 8 digits of its id in the log."""
    return f"#{happened.image_id}" if happened.image_id else str(happened.image)[:8]


def _with_erased(fields: dict[str, Any], erased: str) -> dict[str, Any]:
    return {name: erased if value is None else value for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return wire_time(value)
    return value.isoformat() if isinstance(value, date) else value


class LineOnWire(msgspec.Struct):
    """One event, in Chinese and in English; `event` is its kind.

    `actor` is the account that acted, by name, or by its id in the log if it is erased; `null` is the
    service. `image` is the picture's id in the log, `image_id` its id in lists, once it was drawn,
    `generation_id` its job.
    """

    position: int
    time: Moment
    event: str
    zh: str
    en: str
    actor: str | None
    image: str | None
    image_id: int | None
    correlation_id: str | None
    generation_id: int | None


def line_of(happened: TimelineEvent, addresses: Sequence[str]) -> LineOnWire:
    """`addresses` are the public addresses of the service, the present one first."""
    sentence, event = sentence_of(happened, addresses), happened.event
    return LineOnWire(
        happened.position,
        wire_time(event.timestamp),
        event.TOPIC,
        sentence.zh,
        sentence.en,
        happened.actor,
        str(happened.image) if happened.image else None,
        happened.image_id,
        event.correlation_id,
        happened.generation_id,
    )
