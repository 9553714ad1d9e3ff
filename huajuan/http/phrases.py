"""Every text a client sees, as the contract spells it."""

from huajuan.domain import refusals

# of every route
TOKEN_MISSING = "请求头中缺少Token"
TOKEN_EXPIRED = "Token已过期"
TOKEN_INVALID = "无效的Token"
MALFORMED = "请求数据格式错误"
NO_SUCH_ROUTE = "接口不存在"
WRONG_METHOD = "不支持的请求方法"
BODY_TOO_LARGE = "请求体过大"
BUSY = "服务繁忙，请稍后再试"
UNPLANNED = "服务器内部错误"
BAD_REQUEST = "请求无效"

# accounts
REGISTERED = "注册成功"
NOT_REGISTERED = "用户创建失败"
FORM = {
    refusals.NameMissing: "名字为空",
    refusals.EmailMissing: "邮箱为空",
    refusals.PasswordTooShort: "密码少于6位",
    refusals.EmailMalformed: "邮箱格式不正确",
    refusals.NameTaken: "用户名已存在",
    refusals.EmailTaken: "邮箱已存在",
    refusals.NameUnfit: "名字不合法",
}
DATABASE_AWAY = "数据库暂时不可用"
LOGGED_IN = "登录成功"
USER_UNKNOWN = "用户不存在"
PASSWORD_WRONG = "密码错误"
LOGIN_QUERY_FAILED = "数据库查询错误"
USER_NOT_FOUND = "用户未找到"
QUERY_FAILED = "查询失败"

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

# operations
WELL = "操作成功"
