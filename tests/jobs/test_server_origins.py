"""The origins of servers: the setting, or the last change by an admin."""

import msgspec
import pytest
from structlog.testing import capture_logs

from huajuan.commands.operations import add_inference_server, remove_inference_server
from huajuan.domain.inference_servers import InferenceServers
from huajuan.jobs.server_origins import ServerChange, ServerOrigin, find_origins_blocking, server_origins
from tests.jobs.fake_server import FakeInferenceServer
from tests.jobs.outcome import BRISK
from tests.services import services_on, until

A, B, C = "http://gpu-1:8188", "http://gpu-2:8188", "http://gpu-3:8188"
DAY, LATER = "2026-11-24T23:30:00+00:00", "2026-11-25T08:00:00+00:00"


def added(url: str, at: str = DAY) -> ServerChange:
    return ServerChange(True, url, at, "more")


def removed(url: str, at: str = LATER) -> ServerChange:
    return ServerChange(False, url, at, "broken")


@pytest.mark.parametrize(
    ("configured", "changes", "sentences"),
    [
        ([], [], []),
        ([A], [], [f"{A} (named by HUAJUAN_COMFYUI_URLS)"]),
        ([], [added(B)], [f"{B} (added by an admin on 2026-11-24)"]),
        ([], [added(B), removed(B)], []),
        (
            [A, B],
            [removed(A)],
            [
                f"{A} does not draw: removed by an admin on 2026-11-25, "
                "although HUAJUAN_COMFYUI_URLS names it",
                f"{B} (named by HUAJUAN_COMFYUI_URLS)",
            ],
        ),
        ([A], [removed(A), added(A)], [f"{A} (named by HUAJUAN_COMFYUI_URLS)"]),
        (["HTTP://GPU-1:8188/"], [added(A)], [f"{A} (named by HUAJUAN_COMFYUI_URLS)"]),
        (["http://u:secret@gpu-1:8188/?token=secret"], [], [f"{A} (named by HUAJUAN_COMFYUI_URLS)"]),
        (
            ["http://u:secret@gpu-1:8188"],
            [removed(A)],
            [f"{A} does not draw: removed by an admin on 2026-11-25, although HUAJUAN_COMFYUI_URLS names it"],
        ),
    ],
)
def test_server_origins(configured: list[str], changes: list[ServerChange], sentences: list[str]) -> None:
    origins = server_origins(configured, changes)
    assert [origin.sentence for origin in origins] == sentences
    assert "secret" not in repr(origins)


@pytest.mark.parametrize("last", [added(A), removed(A), added(C), removed(B)])
def test_origins_agree_with_the_aggregate(last: ServerChange) -> None:
    configured, changes = [A, B], [added(C), removed(A), last]
    studio = InferenceServers.__new__(InferenceServers)
    studio.added, studio.removed = [], set()
    for change in changes:
        if change.is_added and change.url not in studio.added:
            studio.added.append(change.url)
            studio.removed.discard(change.url)
        elif not change.is_added:
            studio.added = [url for url in studio.added if url != change.url]
            studio.removed.add(change.url)
    drawing = [origin.url for origin in server_origins(configured, changes) if origin.draws]
    assert sorted(drawing) == sorted(studio.urls(configured))


async def test_origins_are_read_from_the_log_and_logged_on_changes(database_url: str) -> None:
    soon = msgspec.structs.replace(BRISK, servers_refresh_seconds=0.05)
    with capture_logs() as logs:
        async with services_on(database_url, FakeInferenceServer(), dispatch=soon) as services:
            configured = services.job_runner.servers.configured
            await until(lambda: any(line["event"] == "inference servers" for line in logs))
            await add_inference_server(services.store, B, configured, "more")
            await remove_inference_server(services.store, configured[0], configured, "broken")
            await until(lambda: any(line.get("removed") for line in logs))
            today = services.store.clock().date().isoformat()
            first, second = find_origins_blocking(database_url, configured)
    assert first.sentence.startswith(f"http://fake-0 does not draw: removed by an admin on {today}")
    assert (second.url, second.draws, second.source, second.reason) == (B, True, "admin", "more")
    told = [(line["present"], line["removed"]) for line in logs if line["event"] == "inference servers"]
    assert told[0] == ([ServerOrigin("http://fake-0", True, "setting").sentence], [])
    assert told[-1] == ([second.sentence], [first.sentence])
