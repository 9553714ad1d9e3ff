"""All texts that clients receive, as the contract defines them."""

from huajuan.domain import refusals

# of every route
TOKEN_MISSING = "请求头中缺少Token"
TOKEN_EXPIRED = "Token已过期"
TOKEN_INVALID = "无效的Token"
MALFORMED = "请求数据格式错误"
NO_SUCH_ROUTE = "接口不存在"
WRONG_METHOD = "不支持的请求方法"
BODY_TOO_LARGE = "请求体过大"
REQUEST_TIMEOUT = "请求超时"
REQUEST_LINE_TOO_LONG = "请求地址过长"
HEADERS_TOO_LARGE = "请求头过大"
BUSY = "服务繁忙，请稍后再试"
INTERNAL_ERROR = "服务器内部错误"
BAD_REQUEST = "请求无效"
TOO_MANY_REQUESTS = "请求过于频繁，请稍后再试"

# accounts
REGISTERED = "注册成功"
REGISTERED_PENDING = "注册成功，请等待管理员批准"
REGISTRATION_CLOSED = "注册已关闭"
NOT_REGISTERED = "用户创建失败"
REGISTRATION_ERRORS = {
    refusals.UsernameMissing: "名字为空",
    refusals.EmailMissing: "邮箱为空",
    refusals.PasswordTooShort: "密码少于6位",
    refusals.EmailMalformed: "邮箱格式不正确",
    refusals.UsernameTaken: "用户名已存在",
    refusals.EmailTaken: "邮箱已存在",
    refusals.UsernameInvalid: "名字不合法",
}
USER_UNKNOWN = "用户不存在"
AVATAR_URL_INVALID = "头像地址不合法"
PASSWORD_WRONG = "密码错误"
UPDATE_ERRORS = {
    refusals.NotRegistered: USER_UNKNOWN,
    refusals.EmailMissing: REGISTRATION_ERRORS[refusals.EmailMissing],
    refusals.PasswordTooShort: REGISTRATION_ERRORS[refusals.PasswordTooShort],
    refusals.EmailMalformed: REGISTRATION_ERRORS[refusals.EmailMalformed],
    refusals.EmailTaken: REGISTRATION_ERRORS[refusals.EmailTaken],
    refusals.AvatarUrlInvalid: AVATAR_URL_INVALID,
    refusals.WrongPassword: PASSWORD_WRONG,
}
DATABASE_UNAVAILABLE = "数据库暂时不可用"
LOGGED_IN = "登录成功"
ACCOUNT_BANNED = "账号已被封禁"
ACCOUNT_PENDING = "账号尚待批准"
TOO_MANY_FAILURES = "尝试次数过多，请稍后再试"
LOGGED_OUT = "退出成功"
LOGIN_QUERY_FAILED = "数据库查询错误"
USER_NOT_FOUND = "用户未找到"
QUERY_FAILED = "查询失败"
ERASED = "{name}的账号注销成功"
USER_DELETED = "成功删除用户：{name}"
NOT_ROOT = "非root用户，不可删除其他某个用户"
NO_ACCOUNT_NAMED = "需要 isOwn=true 或 username"

USERS_LISTED = "获取用户列表成功"
USERS_NOT_LISTED = "获取用户列表失败"
AVATAR_CHANGED = "头像更新成功"
AVATAR_NOT_CHANGED = "更新头像失败"
AVATAR_PICTURE_INVALID = "头像图片不合法"
AVATAR = "获取头像成功"
AVATAR_QUERY_FAILED = "查询头像失败"
USER_UPDATED = "用户信息更新成功"
USER_NOT_UPDATED = "更新用户信息失败"
USERNAME_FIXED = "用户名不可修改"

# points
CHECKED_IN = "积分记录更新成功!用户当前积分为{score}"
ALREADY_CHECKED_IN = "您今天已经签到过了"
ACCOUNT_QUERY_FAILED = "用户信息查询失败"
POINTS_NOT_UPDATED = "用户积分更新失败"
POINTS_NOT_RECORDED = "积分记录创建失败"

# generate
PROMPT_MISSING = "缺乏提示词"
PROMPT_TOO_LONG = "提示词过长"
WIDTH_OUT_OF_RANGE = "宽度不在范围内"
HEIGHT_OUT_OF_RANGE = "高度不在范围内"
STEPS_OUT_OF_RANGE = "步数不在范围内"
METHOD_OUT_OF_RANGE = "采样方法不在范围内"
SEED_MISSING = "缺乏种子"
NOT_ENOUGH_POINTS = "用户积分不足"
NOT_DRAWN = "图片生成失败"
BALANCE = "用户当前积分为{score}"
QUEUE_FULL = "排队已满，请稍后再试"

# images
IMAGES_OF_USER = "获取用户的图像成功"
IMAGES_OF_USER_FAILED = "查询用户图像失败"
IMAGE_NOT_FOUND = "未找到相关图片"
ALL_IMAGES = "获取图像列表成功"
ALL_IMAGES_FAILED = "获取图像列表失败"
QUERY_INVALID = "查询参数无效"
START_TIME_INVALID = "无效的开始时间格式"
END_TIME_INVALID = "无效的结束时间格式"
TIME_MISSING = "缺少时间"
TIME_EXPECTED = "应为 YYYY-MM-DD 或 YYYY-MM-DDTHH:MM:SS[.ffffff]Z"
IMAGES_OF_RANGE = "查询图像列表成功"
IMAGES_OF_RANGE_FAILED = "查询图像列表失败"
IMAGE_FOUND = "查询图像成功"
IMAGE_QUERY_INVALID = "无效的图像id或用户名"
IMAGE_QUERY_EXPECTED = "需要 url、username 或大于 0 的 id"
IMAGE_QUERY_FAILED = "查询用户的图片失败"

IMAGES_DELETED = "成功删除用户指定的图像"
IMAGES_UNNAMED = "请提供有效的urls或ids列表，并且不要同时提供这两个列表"
IMAGES_NOT_FOUND = "未找到对应的图像"
IMAGES_RESTORED = "恢复图像成功"

# likes
URL_MISSING = "Missing image URL"
ALREADY_LIKED = "用户已经点赞过该图片"
NOT_LIKED = "用户未点赞过该图片"
LIKE_FAILED = "点赞数据库开始出错"
LIKED = "Image liked successfully"
UNLIKED = "Image unliked successfully"

# favorites
FAVORITES = "获取用户收藏的图像成功"
FAVORITES_FAILED = "查询用户收藏的图像失败"
USER_INFO_MISSING = "未找到用户信息"
NO_IMAGE_NAMED = "无有效的图像id或url"
NO_IMAGE_NAMED_BECAUSE = "id 必须大于 0 或者 url 不得为空"
NO_SUCH_IMAGE = "未找到对应的图像"
FAVORITE_FAILED = "收藏图像失败"
ALREADY_FAVORITE = "该图像已经被收藏过"
FAVORITE_ADDED = "收藏图像成功"
NOT_FAVORITE = "该图像未被收藏过"
UNFAVORITE_FAILED = "取消图像收藏失败"
FAVORITE_REMOVED = "取消图像收藏成功"

# operations
SUCCEEDED = "操作成功"
UNBALANCED = "操作成功，但积分账目不平"

# admin
EXAMPLE_LINE = "图片 #4713 已生成"
NOT_ADMIN = "需要管理员权限"
NO_SUCH_PROJECTION = "投影不存在"
REASON_MISSING = "缺少原因"
REASON_TOO_LONG = "原因过长"
REASON_TOO_LONG_BECAUSE = "原因最多 {most} 个字符"
REASON_UNPRINTABLE = "原因不合法"
REASON_UNPRINTABLE_BECAUSE = "原因须为一行可打印的文字"
SERVER_URL_INVALID = "绘图服务器地址不合法"
SERVER_URL_HAS_CREDENTIALS = "地址不能含用户名、密码或参数，此类绘图服务器请用 HUAJUAN_COMFYUI_URLS 配置"
SERVER_ALREADY_ADDED = "该绘图服务器已在使用中"
SERVER_NOT_FOUND = "未找到该绘图服务器"
NOT_STOPPED_THERE = "投影并未停在该位置"
IN_PROGRESS = "请求正在处理中"
KEY_REUSED = "幂等键已用于其他请求"
POINTS_INVALID = "积分数量不合法"
BALANCE_OUT_OF_RANGE = "积分余额超出允许范围"
ALREADY_BANNED = "该账号已被封禁"
NOT_BANNED = "该账号未被封禁"
LAST_ADMIN = "最后一位管理员不可被封禁或删除"
NOT_PENDING = "该账号并非待批准状态"
