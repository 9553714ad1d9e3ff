"""Faults for tests, each seen in real servers. They are disabled unless `--faults` is given."""

import enum

import msgspec


class Mode(enum.StrEnum):
    """The kind of fault. Some use `seconds` of the fault."""

    SUBMIT_500 = "submit_500"
    SUBMIT_500_QUEUED = "submit_500_queued"
    SUBMIT_HANGS = "submit_hangs"
    SUBMIT_HANGS_QUEUED = "submit_hangs_queued"
    SUBMIT_DROPPED = "submit_dropped"
    SUBMIT_DROPPED_QUEUED = "submit_dropped_queued"
    SUBMIT_GARBAGE_QUEUED = "submit_garbage_queued"
    SUBMIT_FORBIDDEN = "submit_forbidden"
    SUBMIT_OTHER_ID = "submit_other_id"
    NODE_ERRORS_WITH_200 = "node_errors_with_200"
    MISSING_MODEL = "missing_model"
    MISSING_NODE = "missing_node"
    MISSING_NODE_OLD = "missing_node_old"
    NO_CHECKPOINTS = "no_checkpoints"
    OBJECT_INFO_HIDDEN = "object_info_hidden"
    LOOKUP_500 = "lookup_500"
    SOCKET_DEAF = "socket_deaf"
    SOCKET_FROZEN = "socket_frozen"
    SOCKET_HUGE_FRAME = "socket_huge_frame"
    SOCKET_NOISE = "socket_noise"
    SOCKET_REFUSED = "socket_refused"
    SOCKET_CLOSED = "socket_closed"
    HISTORY_LATE = "history_late"
    HISTORY_HUGE = "history_huge"
    NO_OUTPUTS = "no_outputs"
    FILE_GONE = "file_gone"
    PICTURE_TRUNCATED = "picture_truncated"
    PICTURE_BROKEN_OFF = "picture_broken_off"
    PICTURE_WRONG_SIZE = "picture_wrong_size"
    PICTURE_NO_PNG = "picture_no_png"
    PICTURE_HUGE = "picture_huge"
    PICTURE_DRIPS = "picture_drips"
    EXECUTION_ERROR = "execution_error"
    PARTIAL_OUTPUTS = "partial_outputs"
    OUT_OF_MEMORY = "out_of_memory"
    INTERRUPTED = "interrupted"
    RESTART = "restart"
    ZOMBIE = "zombie"
    NEVER_ENDING = "never_ending"
    FOREIGN_JOBS = "foreign_jobs"
    OLD_SERVER = "old_server"


class Fault(msgspec.Struct):
    """One mode, for the next `times` uses (`None`: without limit)."""

    mode: Mode
    times: int | None = 1
    seconds: float = 5.0


class Faults:
    """The active faults. `take` uses one up."""

    def __init__(self, *, enabled: bool = False) -> None:
        self.enabled = enabled
        self._set: dict[Mode, Fault] = {}

    def set(self, mode: Mode, *, times: int | None = 1, seconds: float = 5.0) -> None:
        self._set[mode] = Fault(mode, times, seconds)

    def clear(self) -> None:
        self._set.clear()

    def listed(self) -> list[Fault]:
        return list(self._set.values())

    def take(self, mode: Mode) -> Fault | None:
        """The fault if it is active, counted as used."""
        fault = self._set.get(mode)
        if fault is None or fault.times is None:
            return fault
        fault.times -= 1
        if fault.times <= 0:
            del self._set[mode]
        return fault

    def takes(self, mode: Mode) -> bool:
        return self.take(mode) is not None

    def first(self, *modes: Mode) -> Fault | None:
        """The first of these modes that is active."""
        return next((fault for mode in modes if (fault := self.take(mode))), None)
