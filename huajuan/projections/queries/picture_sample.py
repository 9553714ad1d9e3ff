"""Finds the storage keys of some pictures that people can see, for a check of the store."""

import psycopg

from huajuan.projections.history import HISTORY

# The oldest pictures and as many of the newest.
SAMPLE_EACH_MAX = 10
_SHOWN = f"SELECT picture FROM {HISTORY.schema}.history WHERE id IS NOT NULL AND NOT hidden"
_SAMPLE = f"""
({_SHOWN} ORDER BY create_time, id LIMIT {SAMPLE_EACH_MAX})
 UNION
({_SHOWN} ORDER BY create_time DESC, id DESC LIMIT {SAMPLE_EACH_MAX})
"""


def picture_sample(connection: psycopg.Connection) -> list[str]:
    """Empty only if there are no such pictures."""
    return [key for (key,) in connection.execute(_SAMPLE.encode())]
