"""Picture files in a temporary folder with a bounded number of files, removed at the stop of the server."""

import hashlib
import io
import re
import shutil
import tempfile
from pathlib import Path

import msgspec
from PIL import Image
from PIL.PngImagePlugin import PngInfo

FILES_MAX = 200
MARK = "demo ComfyUI: drawn by a program, no model was used"


class ViewRefused(Exception):
    """An error of /view, with the status 400, 403 or 404."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Files:
    """Saves pictures under a prefix, and reads them by name, subfolder and type."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="demo-comfyui-"))
        self._saved: list[Path] = []
        for kind in ("output", "temp", "input"):
            (self.root / kind).mkdir()

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def save(self, picture: Image.Image, prefix: str, kind: str, graph: object) -> dict[str, str]:
        """Write a PNG with the graph in its text, as ComfyUI does. Returns its name, subfolder and type."""
        folder = (self.root / kind / prefix).parent.resolve()
        if not folder.is_relative_to(self.root / kind):
            raise ValueError("Saving image outside the output folder is not allowed.")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{Path(prefix).name}_{_next_number(folder, Path(prefix).name):05}_.png"
        path.write_bytes(_png(picture, graph))
        self._remove_oldest(path)
        subfolder = folder.relative_to(self.root / kind)
        return {
            "filename": path.name,
            "subfolder": "" if subfolder == Path() else str(subfolder),
            "type": kind,
        }

    def read(self, filename: str, subfolder: str, kind: str) -> bytes:
        """Raises `ViewRefused`."""
        root = self.root / kind
        if (
            not filename
            or filename.startswith("/")
            or ".." in filename
            or kind not in {"output", "temp", "input"}
        ):
            raise ViewRefused(400)
        folder = (root / subfolder).resolve()
        if not folder.is_relative_to(root):
            raise ViewRefused(403)
        path = folder / Path(filename).name
        if not path.is_file():
            raise ViewRefused(404)
        return path.read_bytes()

    def delete(self, place: dict[str, str]) -> None:
        (self.root / place["type"] / place["subfolder"] / place["filename"]).unlink(missing_ok=True)

    def _remove_oldest(self, path: Path) -> None:
        self._saved.append(path)
        while len(self._saved) > FILES_MAX:
            oldest = self._saved.pop(0)
            oldest.unlink(missing_ok=True)
            if oldest.parent.parent != self.root and not any(oldest.parent.iterdir()):
                oldest.parent.rmdir()


def etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _png(picture: Image.Image, graph: object) -> bytes:
    text = PngInfo()
    text.add_text("prompt", msgspec.json.encode(graph).decode())
    text.add_text("Software", MARK)
    file = io.BytesIO()
    picture.save(file, format="PNG", pnginfo=text, compress_level=4)
    return file.getvalue()


def _next_number(folder: Path, stem: str) -> int:
    pattern = re.compile(rf"{re.escape(stem)}_(\d+)_\.png")
    numbers = [int(found[1]) for path in folder.iterdir() if (found := pattern.fullmatch(path.name))]
    return max(numbers, default=0) + 1
