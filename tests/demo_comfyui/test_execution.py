"""The files of the demo server are bounded and removed with it."""

import pytest
from PIL import Image

from huajuan.demo_comfyui import execution


def test_the_oldest_files_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "FILES_MAX", 3)
    kept = execution.Files()
    places = [kept.save(Image.new("RGB", (8, 8)), f"jobs/{number}/img", "output", {}) for number in range(5)]
    for place in places[:2]:
        with pytest.raises(execution.ViewRefused):
            kept.read(place["filename"], place["subfolder"], "output")
    assert kept.read(places[4]["filename"], places[4]["subfolder"], "output")
    assert len(list((kept.root / "output" / "jobs").iterdir())) == 3
    kept.close()
    assert not kept.root.exists()


def test_nothing_is_written_outside() -> None:
    kept = execution.Files()
    with pytest.raises(ValueError, match="outside"):
        kept.save(Image.new("RGB", (8, 8)), "../../../outside/img", "output", {})
    kept.close()
