"""The acts of admins on the service: request a rebuild, skip an event, add or remove an inference server."""

from collections.abc import Callable, Iterable

from huajuan.domain.inference_servers import InferenceServers
from huajuan.domain.read_table import ReadTable
from huajuan.event_store.loader import Stream
from huajuan.event_store.store import ChangeResult, EventStore


async def previous_act(store: EventStore, projection: str) -> ChangeResult | None:
    """Return the request or the skip of an earlier run of the command.

    The rebuild may not have started, or the table may have advanced since.
    """
    return await store.previous_result(Stream(ReadTable, store.stream_ids.read_table(projection)))


async def request_rebuild(store: EventStore, projection: str, reason: str) -> ChangeResult:
    """Record a request, rebuild nothing. `projection` is a name with its version, such as `history_v1`."""
    return await _change_table(store, projection, lambda table: table.request_rebuild(reason))


async def skip_event(
    store: EventStore, projection: str, position: int, topic: str, reason: str
) -> ChangeResult:
    """Skip the event in this version of the projection only. Raises `AlreadySkipped`."""
    return await _change_table(store, projection, lambda table: table.skip(position, topic, reason))


async def _change_table(
    store: EventStore, projection: str, change: Callable[[ReadTable], None]
) -> ChangeResult:
    table_id = store.stream_ids.read_table(projection)

    def decide(found: ReadTable | None) -> list[ReadTable]:
        table = found or ReadTable.begin(table_id, projection)
        change(table)
        return [table]

    return await store.change(decide, Stream(ReadTable, table_id))


async def add_inference_server(
    store: EventStore, url: str, configured: Iterable[str], reason: str
) -> ChangeResult:
    """Use one more server, in every process. `configured` are the addresses in the settings.

    Raises `ServerAddressInvalid`, `ServerAlreadyAdded` or `ReasonInvalid`.
    """
    return await _change_servers(store, lambda servers: servers.add(url, configured, reason))


async def remove_inference_server(
    store: EventStore, url: str, configured: Iterable[str], reason: str
) -> ChangeResult:
    """Send the server no more jobs; it finishes those that it has.

    Raises `ServerAddressInvalid`, `ServerNotFound` or `ReasonInvalid`.
    """
    return await _change_servers(store, lambda servers: servers.remove(url, configured, reason))


async def _change_servers(store: EventStore, change: Callable[[InferenceServers], None]) -> ChangeResult:
    stream_id = store.stream_ids.inference_servers()

    def decide(found: InferenceServers | None) -> list[InferenceServers]:
        servers = found or InferenceServers.begin(stream_id)
        change(servers)
        return [servers]

    return await store.change(decide, Stream(InferenceServers, stream_id))
