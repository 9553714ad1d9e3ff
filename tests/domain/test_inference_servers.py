"""Inference servers: added and removed by admins, and the normal form of their addresses."""

from uuid import UUID

import pytest

from huajuan.domain.inference_servers import InferenceServers, deduplicate_servers, normalize_server_url
from huajuan.domain.refusals import ReasonMissing, ServerAddressInvalid, ServerAlreadyAdded, ServerNotFound
from tests.story import Story

HERE = ["http://gpu-1:8188/"]


def servers() -> Story[InferenceServers]:
    return Story(lambda: InferenceServers.begin(UUID(int=1)))


def added(servers: InferenceServers) -> None:
    servers.add("http://gpu-2:8188/", HERE, "more")


def removed(servers: InferenceServers) -> None:
    servers.remove("http://gpu-1:8188", HERE, "broken")


def test_an_added_server_is_used_with_the_configured_ones() -> None:
    story = servers().when(added)
    story.then(("studio.painter_added", {"url": "http://gpu-2:8188", "reason": "more"}))
    assert story.aggregate.urls(HERE) == ["http://gpu-1:8188", "http://gpu-2:8188"]
    story.refuses(ServerAlreadyAdded, added)


def test_a_removed_configured_server_is_unused_until_added_again() -> None:
    story = servers().when(removed)
    story.then(("studio.painter_removed", {"url": "http://gpu-1:8188", "reason": "broken"}))
    assert story.aggregate.urls(HERE) == []
    story.refuses(ServerNotFound, removed)
    story.when(lambda servers: servers.add("http://gpu-1:8188", HERE, "repaired"))
    assert story.aggregate.urls(HERE) == ["http://gpu-1:8188"]


def test_a_reason_is_required() -> None:
    servers().refuses(ReasonMissing, lambda servers: servers.add("http://gpu-2:8188", HERE, " "))


@pytest.mark.parametrize(
    "text", ["", "gpu-2:8188", "ftp://gpu-2", "http://", "http://a b", "http://u:p@gpu", "http://gpu:99999",
             "http://gpu/?x=1", "http://gpu/#x", "http://图",
             "http://" + "a" * 500, "http://[::1", "http://gpu\n"[:-1] + "\x00"],
)  # fmt: skip
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ServerAddressInvalid):
        normalize_server_url(text)


@pytest.mark.parametrize(
    "text", ["http://gpu-2:8188", "https://gpu.example/comfy", "http://[::1]:8188", " http://gpu/ "]
)
def test_the_trailing_slash_is_removed(text: str) -> None:
    assert normalize_server_url(text) == text.strip().rstrip("/")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("HTTP://GPU-2.Example:80/", "http://gpu-2.example"),
        ("https://gpu:443//", "https://gpu"),
        ("https://gpu:80", "https://gpu:80"),
        ("http://gpu:08188/Comfy/", "http://gpu:8188/Comfy"),
        ("http://[0:0::1]:8188", "http://[::1]:8188"),
        ("http://[::FFFF:10.0.0.7]", "http://10.0.0.7"),
        ("http://gpu:", "http://gpu"),
    ],
)
def test_an_address_has_one_normal_form(text: str, url: str) -> None:
    assert normalize_server_url(text) == url == normalize_server_url(url)


ALIASES = ("http://localhost:8188", "http://127.0.0.1:8188/", "http://[::1]:8188", "HTTP://LOCALHOST.:8188",
           "http://0.0.0.0:8188", "http://[::ffff:127.0.0.1]:8188")  # fmt: skip
OTHERS = ("http://localhost:8189", "https://localhost:8188", "http://127.0.0.2:8188",
          "http://localhost:8188/a", "http://localhost.example:8188")  # fmt: skip


@pytest.mark.parametrize("first", ALIASES)
@pytest.mark.parametrize("second", ALIASES)
def test_all_names_of_the_local_machine_are_one_server(first: str, second: str) -> None:
    """Whether added or configured; it can be removed under any of its names."""
    assert deduplicate_servers([first, second]) == [normalize_server_url(first)]
    servers().refuses(ServerAlreadyAdded, lambda servers: servers.add(second, [first], "more"))
    story = servers().when(lambda servers: servers.add(first, [], "more"))
    story.refuses(ServerAlreadyAdded, lambda servers: servers.add(second, [], "more"))
    story.when(lambda servers: servers.remove(second, [], "gone"))
    assert story.aggregate.urls([first, second]) == []
    story.when(lambda servers: servers.add(second, [first], "back"))
    assert story.aggregate.urls([first]) == [normalize_server_url(first)]


@pytest.mark.parametrize("other", OTHERS)
def test_an_address_that_may_be_another_server_is_another(other: str) -> None:
    story = servers().when(lambda servers: servers.add(other, ALIASES, "more"))
    assert story.aggregate.urls(ALIASES) == [ALIASES[0], normalize_server_url(other)]


def test_a_log_with_one_server_under_two_names_yields_one_server() -> None:
    """Such logs were written before addresses were compared by server."""
    urls = ("http://GPU:8188", "http://gpu:8188", "http://127.0.0.1:1", "http://localhost:1", "fake")
    story = servers()
    for url in urls:
        story.when(lambda servers, url=url: servers._add(url, "more"))  # type: ignore[misc]
    assert story.aggregate.urls(["fake/"]) == ["fake", "http://gpu:8188", "http://127.0.0.1:1"]
