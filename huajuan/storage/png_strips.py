"""Decodes a large PNG in strips of rows, so that the whole picture is never in memory."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

STRIP_BYTES_MAX = 16 << 20
READ_BYTES = 64 << 10
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The fields of IHDR: width, height, depth, colour type, compression, filters, interlaced.
_HEADER = struct.Struct(">IIBBBBB")
_Header = tuple[int, ...]
# Channels of the colour types whose decoded bytes equal the stored ones.
_CHANNELS = {2: 3, 6: 4}


def strips(file: BinaryIO, rows: int) -> Iterator[Image.Image] | None:
    """Strips of `rows` rows, the last one maybe shorter; `None` for a PNG that cannot be read in strips."""
    header, between = _beginning(file)
    width, _, depth, colour, _, _, interlaced = header
    row_bytes = width * _CHANNELS.get(colour, 0)
    if depth != 8 or interlaced or not 0 < row_bytes * rows <= STRIP_BYTES_MAX:
        return None
    return _strips(file, header, between, row_bytes + 1, rows)


def _strips(
    file: BinaryIO, header: _Header, between: bytes, line_bytes: int, rows: int
) -> Iterator[Image.Image]:
    """Each strip is decoded below the last row before it: a row may be stored as the difference to that."""
    inflated, above, (width, height, *kind) = _Inflated(file), b"", header
    for top in range(0, height, rows):
        count = min(rows, height - top)
        lines = above + inflated.take(count * line_bytes)
        extra = 1 if above else 0
        picture = _decoded((width, count + extra, *kind), between, lines)
        strip = picture.crop((0, extra, width, count + extra))
        # Filter 0: the row without a difference.
        above = b"\0" + strip.crop((0, count - 1, width, count)).tobytes()
        yield strip


class _Inflated:
    """Decompresses the stored rows in pieces. The file is positioned at the first IDAT chunk."""

    def __init__(self, file: BinaryIO) -> None:
        self._pieces = _data(file)
        self._inflate = zlib.decompressobj()

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises `EOFError` if there are fewer."""
        found = bytearray()
        while len(found) < size:
            waiting = self._inflate.unconsumed_tail or next(self._pieces, b"")
            if not waiting:
                raise EOFError
            found += self._inflate.decompress(waiting, size - len(found))
        return bytes(found)


def _data(file: BinaryIO) -> Iterator[bytes]:
    """The content of all IDAT chunks."""
    while True:
        kind, length = _chunk(file)
        if kind == b"IEND" or not kind:
            return
        if kind != b"IDAT":
            file.seek(length + 4, io.SEEK_CUR)
            continue
        while length:
            piece = file.read(min(length, READ_BYTES))
            if not piece:
                return
            length -= len(piece)
            yield piece
        file.seek(4, io.SEEK_CUR)


def _beginning(file: BinaryIO) -> tuple[_Header, bytes]:
    """The header, and the tRNS chunk (the transparent colour) if there is one."""
    file.seek(len(_SIGNATURE))
    header, between = (0,) * 7, b""
    while (at := _chunk(file))[0] not in (b"IDAT", b""):
        kind, length = at
        content = file.read(length) if kind in (b"IHDR", b"tRNS") else b""
        file.seek(length - len(content) + 4, io.SEEK_CUR)
        if kind == b"IHDR":
            header = _HEADER.unpack(content)
        elif kind == b"tRNS":
            between = _packed(kind, content)
    file.seek(-8, io.SEEK_CUR)
    return header, between


def _chunk(file: BinaryIO) -> tuple[bytes, int]:
    """Kind and length of the chunk whose content comes next."""
    head = file.read(8)
    return (head[4:], int.from_bytes(head[:4], "big")) if len(head) == 8 else (b"", 0)


def _packed(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _decoded(header: _Header, between: bytes, lines: bytes) -> Image.Image:
    content = _SIGNATURE + _packed(b"IHDR", _HEADER.pack(*header)) + between
    content += _packed(b"IDAT", zlib.compress(lines, 0)) + _packed(b"IEND", b"")
    picture = Image.open(io.BytesIO(content), formats=["PNG"])
    picture.load()
    return picture
