"""Which of a workflow's pictures is the one that was asked for."""

import re
from collections.abc import Iterator
from typing import Any

from huajuan.inference_client.errors import BadPicture
from huajuan.inference_client.holes import Graph, WorkflowError, check_holes, is_link, places, where

Place = dict[str, str]
PLACE_FIELDS = ("filename", "subfolder", "type")
# `img` is the name in a prefix, and the server adds a number: not so `img_pass1_00001_.png`.
_NAMED_EXACTLY = re.compile(r"img_\d+_?\.[A-Za-z0-9]+")


def check_workflow(workflow: Any) -> None:
    """As `check_holes`, and WorkflowError unless it is clear which picture is the one asked for.

    For a new workflow: one that is on record is drawn by as it was.
    """
    check_holes(workflow)
    exact = exact_savers(workflow)
    if len(exact) > 1:
        named = " and ".join(where(workflow, node) for node in exact)
        raise WorkflowError(
            f"{named} both name their files by exactly {{prefix}}: only the picture asked for may"
        )
    others = list(_naming(workflow))
    if not exact and len(others) > 1:
        named = " and ".join(where(workflow, node) for node in others)
        raise WorkflowError(
            f"{named} name their files by {{prefix}}, and none by exactly that: the picture's must"
        )


def exact_savers(workflow: Graph) -> list[str]:
    """The nodes that name their files by exactly `{prefix}`, over a link as well, and that end there."""
    exact = {p.node for p in places(workflow) if p.is_one_hole and p.holes == ["prefix"]}
    passed_on = {node for node in exact if not _links(workflow, node)}
    linked = {node for node in workflow if passed_on.intersection(_links(workflow, node))}
    return [node for node in workflow if node in exact | linked and node not in _sources(workflow)]


def _naming(workflow: Graph) -> Iterator[str]:
    found = {place.node for place in places(workflow) if "prefix" in place.holes}
    return (node for node in workflow if node in found and node not in _sources(workflow))


def picture_place(entry: dict[str, Any], prompt_id: str, workflow: Graph) -> Place:
    """Where the picture lies; BadPicture if there is none.

    It is that of the node named exactly by `{prefix}`, then one in the job's own folder; of several in one
    output it is the first.
    """
    exact = exact_savers(workflow)
    found = list(_places(entry.get("outputs")))
    if not found:
        raise BadPicture("the server finished without a picture")

    def rank(kept: tuple[str, Place]) -> tuple[bool, ...]:
        node, place = kept
        return (
            node not in exact,
            prompt_id not in place["subfolder"],
            not _NAMED_EXACTLY.fullmatch(place["filename"]),
            place["type"] != "output",
            not place["filename"].lower().endswith(".png"),
        )

    return min(found, key=rank)[1]


def _links(workflow: Graph, node: str) -> list[str]:
    return [value[0] for value in workflow[node]["inputs"].values() if is_link(value)]


def _sources(workflow: Graph) -> set[str]:
    """The nodes whose outputs others take."""
    return {source for node in workflow for source in _links(workflow, node)}


def _places(outputs: Any) -> Iterator[tuple[str, Place]]:
    nodes = sorted(outputs.items(), key=lambda node: str(node[0])) if isinstance(outputs, dict) else []
    for node, said in nodes:
        images = said.get("images") if isinstance(said, dict) else None
        for image in images if isinstance(images, list) else ():
            if _is_place(image):
                yield str(node), {field: image[field] for field in PLACE_FIELDS}


def _is_place(image: Any) -> bool:
    return isinstance(image, dict) and all(isinstance(image.get(field), str) for field in PLACE_FIELDS)
