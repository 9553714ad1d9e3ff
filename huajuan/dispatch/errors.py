"""Why a picture is not even asked for. Nothing is charged."""


class QueueFull(Exception):
    """As many jobs are waiting as may be, of this account or of everybody's."""


class NobodyDraws(Exception):
    """No painter has answered for a while."""
