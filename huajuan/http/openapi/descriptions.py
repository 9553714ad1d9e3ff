"""Descriptions of properties: by name, or by struct and name where they differ."""

from collections.abc import Mapping

_REQUEST = (
    "The `X-Request-Id` of the request that led to the event, which an erasure leaves; "
    "null if there was none."
)
_IMAGE_ID = "The id of the picture in lists; null until it is drawn."
_ACTOR = (
    "The username of the account that acted, or its id in the log where it is erased; null is the service."
)
_HOLD = "The state of the points of the picture; null where the line concerns no picture."
_PAGE_POSITION = "The position of the log up to which the reply was computed."

OF_PROPERTY: Mapping[str, str] = {
    "account_id": "The id of the account in the log, a UUID; it stays when the person is erased.",
    "actor": "The username of the account that made the change, where it was another one; else null.",
    "admin": "Whether the account has the admin role.",
    "agrees": "Whether the table of balances shows the same; null where it stands at another position.",
    "reachable": "Whether the server answered when it was last asked; null before that.",
    "attempts": "How often a server has begun to draw the picture.",
    "available": "Points that the account can spend.",
    "avatar": "The address of the avatar; empty without one.",
    "avatar_url": "The address of the avatar; empty without one.",
    "balance": "The available points after the change.",
    "banned": "Whether the account is banned.",
    "blocking": "`true` if the problem makes the service not ready; otherwise it is only degraded.",
    "change": "Points added to the balance; negative where some were taken.",
    "charged": "Points paid for the picture: 0 until it is drawn.",
    "check_ins": "Check-ins of the day.",
    "code": "The HTTP status, once more.",
    "cooldown_seconds": "For how many seconds the server gets no job.",
    "correlation_id": _REQUEST,
    "create_time": "When it was made, in UTC.",
    "current_likes": "How many accounts like the picture; at least the like of this request is counted.",
    "damage": "The first fault that was found; null if none was.",
    "data": "The address of the avatar; null in an error.",
    "database": "Whether the database answers.",
    "day": "The day, in UTC.",
    "days": "One element a day on which anything happened, oldest first.",
    "deducted": "Points that admins took from the account.",
    "detail": "One English sentence on the problem.",
    "differences": (
        "For each table whose rows differed from the old ones: its name, how many, and the first of them."
    ),
    "email": "The e-mail address of the account.",
    "en": "The event as an English sentence.",
    "ended_at": "When it ended; null while it runs.",
    "ended_time": "When the job ended, in UTC; null until then.",
    "entries": "One element an event that touched the points, oldest first.",
    "erased": "Whether the account was erased.",
    "error": "The exact error, or the name of the invalid parameter.",
    "eta_seconds": "Seconds until the job may have ended; null if it has, or before any picture was drawn.",
    "event": "The kind of the event.",
    "events_per_second": "How many events a second it reads.",
    "favorited_time": "When the image became a favorite, in UTC.",
    "favorites": "How many favorites the account has.",
    "force": "`true` takes the points even if the balance falls below zero.",
    "forfeited": "Points that went with the account when it was erased.",
    "generation_id": "The id of the job that made the picture, as in `/auth/generations/{id}`.",
    "generations": "The jobs, newest first.",
    "granted": "All points that the account ever got.",
    "head": "The last position of the log, where it will end.",
    "height": "The height of the picture in pixels.",
    "held": "Points held for pictures that are being drawn.",
    "history": "One element a change, newest first.",
    "id": "The id of the image in lists, the same whenever the tables are rebuilt.",
    "ids": "The ids of the images meant.",
    "ignored_skips": "Positions that an older version of the table leaves out and this one does not.",
    "image": "The id of the picture in the log, a UUID; null where the event concerns none.",
    "image_id": _IMAGE_ID,
    "image_url": "The address of the picture; null while there is none to be seen.",
    "images": "The images.",
    "inference_servers": "The inference servers that may get jobs.",
    "isliked": "Whether one likes the image.",
    "issued": "Points that accounts got on the day.",
    "kind": "The kind of damage.",
    "lag_events": (
        "How many events of the log the table has not read yet; negative if it is ahead of the log."
    ),
    "lag_seconds": "For how many seconds the table has not moved while events waited.",
    "last": "The last position of the log.",
    "last_rebuild": "The last rebuild of the table; null if there was none.",
    "leader": "The process that keeps the table up to date, as host and process id; null if none does.",
    "likecount": "How many accounts like the image.",
    "likes": "How many images the account likes.",
    "message": "The result of the request, in Chinese; the texts are listed as examples of each status.",
    "moved_at": "When it last moved forward.",
    "msg": "The result of the request, in Chinese.",
    "name": "The name of the read table.",
    "outcome": "How the rebuild ended; null while it runs. Other texts say why it failed.",
    "params": "The parameters of the picture in one line.",
    "password": "The password: any text of at least 6 characters.",
    "picture": (
        "The address of the picture, which `like` and `favorite` take; null where it is not to be seen."
    ),
    "pictures": "Pictures drawn on the day.",
    "points": "Whether the points of all accounts add up.",
    "position": "The position of the event in the log.",
    "problems": "The current problems.",
    "profile": "The account as it was.",
    "progress": "How much of the picture is drawn, from 0 to 1.",
    "projection": "The read table.",
    "projections": "The read tables.",
    "prompt": "The prompt, as the client sent it.",
    "last_job_succeeded": "Whether the last job of the server succeeded.",
    "reason": "Why; it goes on record.",
    "request_id": "The id of the request, by which its lines of the log are found.",
    "rebuilding": "Whether the table is being rebuilt.",
    "sampling_method": "The sampling method.",
    "says": "A description of the damage, in an English sentence.",
    "score": "The available points of the account.",
    "seed": "The seed, as it was given.",
    "skipped_at": "When the event was left out.",
    "skips": "The events that the table leaves out.",
    "spent": "Points paid for pictures.",
    "started_at": "When it began.",
    "started_time": "When the newest attempt to draw it began, in UTC; null before that.",
    "status": "The state of the job.",
    "steps": "The sampling steps.",
    "stopped_at": "The position of the event that the table cannot read; null while it moves.",
    "stopped_by": "The kind of error that stopped the table; null while it moves.",
    "stopped_event": "The kind of the event that the table cannot read; null while it moves.",
    "success": "Whether it worked.",
    "time": "When it happened, in UTC.",
    "timeline": "One element an event, newest first.",
    "token": "The token to be sent as `Authorization`.",
    "totals": "The totals of the account's points.",
    "url": "The address of the picture.",
    "urls": "The addresses of the images meant.",
    "drawing": "Whether any inference server answers, so that pictures are drawn.",
    "not_applied": (
        "Parameters that change nothing, because the workflow has its own; absent if there are none."
    ),
    "state": (
        "`ready`, `cooldown` (a circuit is open or half-open), `unreachable`, or `unfit` for the workflow."
    ),
    "user": "One's own account.",
    "username": "The username.",
    "users": "The accounts, by id.",
    "verdict": "Whether the table of balances agrees, in an English sentence.",
    "version": "The version of the table's columns and folds.",
    "waiting": "How many jobs wait for an inference server.",
    "what": "The kind of the event.",
    "whole": "Whether nothing was changed; null if there was no time to look at everything.",
    "width": "The width of the picture in pixels.",
    "zh": "The event as a Chinese sentence.",
}
_USER_ID = {"id": "The id of the account, the same whenever the tables are rebuilt."}
_JOB = {
    "id": "The id of the job, which images name as `generation_id`.",
    "position": "1 for the job that starts next, 0 for one that is being drawn; null when it has ended.",
    "reason": "Why there is no picture, in a sentence; null unless the job failed or was cancelled.",
    "create_time": "When the picture was asked for, in UTC.",
}
_AUDIT = {"position": _PAGE_POSITION}
_TABLE_POSITION = {"position": "The position of the log up to which the table has read."}
_NULL_IF_ERASED = "Null where the account is erased by now."
_CREDENTIALS = {"username": "The username of the account.", "password": "Its password."}

OF_STRUCT: Mapping[str, Mapping[str, str]] = {
    "AcceptedResponse": _JOB,
    "JobOnWire": _JOB,
    "JobResponse": _JOB,
    "JobProgress": {"position": _JOB["position"]},
    "GeneratedResponse": {
        "score": "The points that the account has left.",
        "image_url": "The address of the picture.",
    },
    "OwnUser": _USER_ID,
    "PublicUser": _USER_ID,
    "ProfileThen": _USER_ID
    | {
        "score": "The available points of the account then.",
        "images": "How many pictures of the account were to be seen.",
        "username": f"The username. {_NULL_IF_ERASED}",
        "email": f"The e-mail address of the account. {_NULL_IF_ERASED}",
        "avatar_url": f"The address of the avatar; empty without one. {_NULL_IF_ERASED}",
    },
    "FavoriteOnWire": {
        "id": "The id of the favorite itself, which `deleteFavoritedImage` takes.",
        "image_id": "The id of the image in lists.",
        "create_time": "When the image was drawn, in UTC.",
        "username": "The username of the account that made the image.",
    },
    "ImageThen": {
        "username": f"The username of the account that made the image. {_NULL_IF_ERASED}",
        "params": f"The parameters of the picture in one line. {_NULL_IF_ERASED}",
        "prompt": f"The prompt of the picture. {_NULL_IF_ERASED}",
        "seed": f"The seed, as it was given. {_NULL_IF_ERASED}",
    },
    "ImageResponse": {"image": "The image."},
    "ChangeOnWire": {
        "reason": (
            "The cause of the change: one of the values named, why points came back, or what an admin wrote."
        ),
        "image_id": _IMAGE_ID,
        "status": _HOLD,
        "generation_id": "The id of the picture's job; null where the change concerns no picture.",
    },
    "EntryOnWire": {
        "actor": _ACTOR,
        "reason": "Why points came back, or what an admin wrote; null where there is no reason.",
        "status": _HOLD,
        "generation_id": "The id of the picture's job; null where the event concerns no picture.",
        "held": "The points held after the event.",
        "balance": "The available points after the event.",
    },
    "LineOnWire": {
        "actor": _ACTOR,
        "generation_id": "The id of the picture's job; null where the event concerns no picture.",
    },
    "ReplayResponse": _AUDIT,
    "ProfileResponse": _AUDIT,
    "GalleryResponse": _AUDIT,
    "VerifyResponse": {"position": "The position up to which nothing was changed."},
    "DamageOnWire": {"position": "The first position that does not fit."},
    "DayOnWire": {
        "held": "Points that were held for pictures on the day.",
        "spent": "Points paid for pictures on the day.",
        "users": "Accounts registered on the day.",
    },
    "CheckpointLag": _TABLE_POSITION | {"projection": "The read table, by name and version."},
    "ProjectionOnWire": _TABLE_POSITION,
    "RebuildOnWire": {"position": "The position of the log that the rebuild has reached."},
    "ReadyResponse": {
        "status": "`degraded` means that something is wrong and requests are served all the same.",
        "projections": "How far each read table is, by its name and version.",
    },
    "SkipOnWire": {"reason": "Why the admin left it out."},
    "Problem": {"name": "A name of the problem that stays the same."},
    "InferenceServerOnWire": {
        "url": "The address of the inference server.",
        "problems": "The parts of the workflow that the server does not support; null before the check.",
        "reason": "Why the server is in its state, in a sentence; null if it is ready.",
    },
    "ProjectionResponse": {"projection": "The read table and how it is doing."},
    "AvatarForm": {"url": "The address of the avatar; empty takes it away."},
    "LoginForm": _CREDENTIALS,
    "InferenceServerForm": {"url": "The address of the inference server."},
    "PointsForm": {"change": "Points to give; negative to take some."},
    "SkipForm": {"position": "The position at which the table is stopped."},
    "FavoriteForm": {"id": "The id of the image."},
    "ImageParametersForm": {
        "seed": "Any text or integer. A decimal within 0…2^64−1 is that seed; any other text stands for one.",
        "sampling_method": "The sampling method; `DDIM` if the key is absent.",
        "prompt": "The prompt of the picture.",
    },
    "UpdateForm": {
        "avator_url": "Another spelling of `avatar_url`.",
        "email": "The new e-mail address.",
        "password": "The new password. It revokes all tokens of the account.",
    },
    "RegisterForm": {"username": "The username, unique and for good."},
}
OF_PATH: Mapping[str, str] = {
    "generation": "The id of the job.",
    "key": "The key that ends the picture's address.",
    "name": "The name of the read table.",
    "username": "The username, or the id of the account in the log.",
    "id": "The integer id of the account.",
}


def description_of(struct: str, name: str) -> str | None:
    """The description of a property of a struct; `None` if there is none."""
    return OF_STRUCT.get(struct, {}).get(name) or OF_PROPERTY.get(name)
