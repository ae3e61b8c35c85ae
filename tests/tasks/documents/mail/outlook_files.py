"""Files as Outlook saves them, for tests: storages and streams in a compound file. Source: [MS-CFB] 2, [MS-OXMSG] 2."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

Tree: TypeAlias = "Mapping[str, bytes | Tree]"

_SECTOR, _SMALL_SECTOR, _SMALL_STREAM = 512, 64, 4096
_END, _FAT_SECTOR, _NONE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def message(
    properties: Mapping[int, str | bytes | int | datetime],
    *parts: tuple[str, Tree],
    is_embedded: bool = False,
    codepage: str = "",
) -> Tree:
    """A message of these properties with its recipients and attachments; texts in `codepage` rather than in Unicode."""
    return {**properties_of(properties, 24 if is_embedded else 32, codepage), **dict(parts)}


def recipient(number: int, properties: Mapping[int, str | bytes | int | datetime]) -> tuple[str, Tree]:
    return f"__recip_version1.0_#{number:08X}", properties_of(properties, 8)


def attachment(
    number: int, properties: Mapping[int, str | bytes | int | datetime], embedded: "Tree | None" = None
) -> tuple[str, Tree]:
    tree = properties_of(properties, 8)
    return f"__attach_version1.0_#{number:08X}", tree | ({"__substg1.0_3701000D": embedded} if embedded else {})


def properties_of(
    properties: Mapping[int, str | bytes | int | datetime], header: int, codepage: str = ""
) -> dict[str, "bytes | Tree"]:
    fixed = b"\0" * header
    streams: dict[str, bytes | Tree] = {}
    for number, value in properties.items():
        if isinstance(value, int):
            fixed += struct.pack("<HHLQ", 0x0003, number, 6, value)
        elif isinstance(value, datetime):
            ticks = int((value - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000
            fixed += struct.pack("<HHLQ", 0x0040, number, 6, ticks)
        elif isinstance(value, bytes):
            streams[f"__substg1.0_{number:04X}0102"] = value
        elif codepage:
            streams[f"__substg1.0_{number:04X}001E"] = value.encode(codepage)
        else:
            streams[f"__substg1.0_{number:04X}001F"] = value.encode("utf-16-le")
    return {"__properties_version1.0": fixed, **streams}


def compound_file(tree: Tree) -> bytes:
    """The tree as a compound file of version 3."""
    writer = _Writer()
    writer.add("Root Entry", tree)
    return writer.written()


@dataclass
class _Entry:
    name: str
    kind: int
    first: int = 0
    size: int = 0
    right: int = _NONE
    child: int = _NONE

    def packed(self) -> bytes:
        spelled = self.name.encode("utf-16-le") + b"\0\0"
        return struct.pack(
            "<64sHBB3L16sL16xLQ",
            *(spelled, len(spelled), self.kind, 1, _NONE, self.right, self.child, b"", 0, self.first, self.size),
        )


class _Writer:
    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._sectors: list[bytes] = []
        self._next: list[int] = []
        self._small = b""
        self._small_next: list[int] = []

    def add(self, name: str, content: "bytes | Tree") -> int:
        number = len(self._entries)
        if isinstance(content, bytes):
            self._entries.append(_Entry(name, 2, self._put(content), len(content)))
            return number
        own = _Entry(name, 1 if number else 5)
        self._entries.append(own)
        before = None
        for child in sorted(content, key=lambda each: (len(each), each.upper())):
            added = self.add(child, content[child])
            if before is None:
                own.child = added
            else:
                self._entries[before].right = added
            before = added
        return number

    def _put(self, data: bytes) -> int:
        if len(data) >= _SMALL_STREAM:
            return self._chain(data)
        if not data:
            return _END
        first, count = len(self._small_next), -(-len(data) // _SMALL_SECTOR)
        self._small += data.ljust(count * _SMALL_SECTOR, b"\0")
        self._small_next += [*range(first + 1, first + count), _END]
        return first

    def _chain(self, data: bytes) -> int:
        first, count = len(self._sectors), -(-len(data) // _SECTOR)
        self._sectors += [data[at * _SECTOR : (at + 1) * _SECTOR].ljust(_SECTOR, b"\0") for at in range(count)]
        self._next += [*range(first + 1, first + count), _END]
        return first

    def written(self) -> bytes:
        root = self._entries[0]
        root.first, root.size = self._chain(self._small) if self._small else _END, len(self._small)
        small_fat = self._chain(struct.pack(f"<{len(self._small_next)}L", *self._small_next)) if self._small else _END
        directory = self._chain(b"".join(entry.packed() for entry in self._entries))
        tables = 1
        while tables * 128 < len(self._sectors) + tables:
            tables += 1
        first_table = len(self._sectors)
        chain = [*self._next, *[_FAT_SECTOR] * tables]
        chain += [_NONE] * (tables * 128 - len(chain))
        table = struct.pack(f"<{len(chain)}L", *chain)
        listed = [first_table + n if n < tables else _NONE for n in range(109)]
        header = struct.pack(
            "<8s16s5H6x9L109L", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, 0, tables, directory, 0,
            _SMALL_STREAM, small_fat, -(-len(self._small_next) // 128), _END, 0, *listed,
        )  # fmt: skip
        return header + b"".join(self._sectors) + table
