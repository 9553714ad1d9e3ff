"""The bounds of dispatch, each with its unit."""

import msgspec


class DispatchLimits(msgspec.Struct, frozen=True):
    """`job_seconds_max` is how long a picture may take from its request to its end."""

    job_seconds_max: float = 3600
    jobs_of_account_max: int = 10
    jobs_waiting_max: int = 1000
    # What one who finds the queue full is told to wait.
    full_retry_seconds: int = 10
    # Of all processes together. With 2 a server is not idle between two pictures; the second waits there, where no
    # other can overtake it.
    jobs_of_host_max: int = 2
    attempts_max: int = 3
    lease_seconds: float = 20
    heartbeat_seconds: float = 2
    claim_every_seconds: float = 1
    unasked_seconds_max: float = 600
    unasked_pause_seconds: float = 1
    overdue_batch_max: int = 50
    overdue_every_seconds: float = 5
    # For how long no painter may answer before what waits is given up.
    nobody_seconds_max: float = 30
    # For how long no server may answer before readiness tells it.
    nothing_draws_seconds: float = 5
    wait_poll_seconds: float = 1
    stop_seconds_max: float = 5
    # How long a drawn picture waits for a store that is away before its job fails and the points go back.
    store_seconds_max: float = 60
    # How long a painter that failed is left alone, doubled each time.
    rest_seconds_min: float = 1
    rest_seconds_max: float = 60
    # One that does not answer is only asked whether it does, and is missed as soon as it is back.
    silent_rest_seconds_max: float = 10
    # How often a server without a job is asked whether it still answers.
    server_check_seconds: float = 10
    # How long a painter that does not say what it can draw is left in peace, doubled each time.
    fitting_pause_seconds: float = 10
    fitting_pause_seconds_max: float = 600
    # How soon a process hears of painters that an admin added or removed.
    painters_every_seconds: float = 2
