"""Which row of which part holds a key: sorted key files, derived from the parts' key columns and never the truth.

It exists so that lookups stay cheap without holding 100 million keys in memory. A new part's keys become a small file,
and small ones become larger ones, so that there are some dozens of them however many keys there are, and each key is
written about once more for every 32 times that there are more. Whatever is wrong with a file, it is thrown away and its
parts are read again.

A compaction of parts adds a file for the part that it made; what the files hold of parts that are gone is passed over,
and left out when they are merged.

`SeenKeys` remembers keys until the process ends, in the same way.
"""

from bisect import bisect
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from millrace.tasks.lake.storage.atomic import make_folder, translate_os_errors
from millrace.tasks.lake.vectors.key_file import (
    SORTED_AT_ONCE,
    IndexedPart,
    KeyFile,
    KeyFileDamaged,
    in_order,
    merged,
    prefixes_of,
    records_of,
)
from millrace.tasks.lake.vectors.schema import KeyBytes
from millrace.tasks.records import TEXT_KEY_BYTES

_SIZES = (8, 64, 512, 4_096, 32_768, 1 << 20, 1 << 25, 1 << 30, 1 << 35)
"""Files between two of these numbers of keys are merged when together they reach the larger. Small steps where files
are small, so that there are few of them; large ones above, so that ten million keys are written three times each."""


class NewPart(NamedTuple):
    """A part to be taken in. `keys`: uint8, shape (rows, 32), in row order."""

    name: str
    size: int
    keys: KeyBytes
    replaces: Sequence[str] = ()


class KeyIndex:
    """The index of the key files in a folder. One thread at a time changes it; any thread looks keys up meanwhile.

    What a lookup sees is replaced at one stroke with each change, so that no key is out of sight between two states.
    """

    def __init__(self, folder: Path | None = None, files: Iterable[KeyFile] = (), next_number: int = 1) -> None:
        """An index of `files` that puts new ones into `folder`; None: into files without names, and deletes none."""
        self._folder = folder
        self._next_number = next_number
        self._view: tuple[tuple[KeyFile, ...], frozenset[str]] = tuple(files), frozenset()

    @classmethod
    def open(cls, folder: Path, *, read_only: bool) -> Self:
        """The index in `folder`, of the files that are whole. A writer deletes the others; a reader touches nothing.

        Raises:
            LakeUnreachable: The system does not let this process read a file.
            LakeError: A file cannot be deleted.
        """
        paths = sorted(folder.glob("keys-*.bin"), key=_number, reverse=True)
        files: list[KeyFile] = []
        held: set[str] = set()
        for path in paths:
            try:
                file = KeyFile.open(path)
            except FileNotFoundError:
                continue  # merged by the writer since it was listed
            except KeyFileDamaged:
                file = None
            if file is not None and not file.parts.keys() <= held:
                files.append(file)
                held |= file.parts.keys()
            elif not read_only:  # damaged, or a merge was cut short before it was deleted
                _delete(path)
        return cls(None if read_only else folder, files, max(map(_number, paths), default=0) + 1)

    def renewed(self) -> "KeyIndex":
        """An empty index in place of this one, whose files are deleted; this one can be read on."""
        for file in self._view[0]:
            self._discard(file)
        return KeyIndex(self._folder, (), self._next_number)

    def parts(self) -> dict[str, IndexedPart]:
        """The parts whose keys it finds, by file name."""
        files, gone = self._view
        return {name: part for file in files for name, part in file.parts.items() if name not in gone}

    def locate(self, keys: Iterable[bytes]) -> dict[bytes, tuple[str, int]]:
        """Part name and row of each key that it knows."""
        wanted = sorted(set(keys))
        prefixes = prefixes_of(np.frombuffer(b"".join(wanted), np.uint8).reshape(-1, TEXT_KEY_BYTES))
        left = np.arange(len(wanted))
        found: dict[bytes, tuple[str, int]] = {}
        files, gone = self._view
        for file in files:
            here = dict(file.find(prefixes[left], gone))
            if here:
                found.update((wanted[left[position]], place) for position, place in here.items())
                left = np.delete(left, list(here))
        return found

    def add(self, parts: Iterable[NewPart]) -> None:
        """Take in parts in place of those that they replace; read `SORTED_AT_ONCE` keys at a time.

        Raises:
            LakeError: The disk refuses; what was taken in before stays.
        """
        waiting: list[NewPart] = []
        for part in parts:
            waiting.append(part)
            if sum(len(other.keys) for other in waiting) >= SORTED_AT_ONCE:
                self._take_in(waiting)
                waiting = []
        if waiting:
            self._take_in(waiting)

    def drop(self, names: Collection[str]) -> None:
        """Forget parts: their keys are no longer found."""
        self._show(self._view[0], self._view[1].union(names))

    def _take_in(self, parts: Sequence[NewPart]) -> None:
        files, gone = self._view
        names = {part.name for part in parts}
        records = np.concatenate([records_of(part.keys, number) for number, part in enumerate(parts)])
        known = {part.name: IndexedPart(part.size, len(part.keys), list(part.replaces)) for part in parts}
        new = [KeyFile.write(self._new_path(), known, [in_order(records)])]
        stale = [file for file in files if not names.isdisjoint(file.parts)]
        if stale:  # a journal outlived its part and has become it again, perhaps with fewer rows
            new += self._merged(stale, gone | names)
        replaced = {name for part in parts for name in part.replaces}
        self._show((*new, *(file for file in files if file not in stale)), (gone | replaced) - names)
        while due := self._due():
            others = [file for file in self._view[0] if file not in due]
            self._show((*self._merged(due, self._view[1]), *others), self._view[1])

    def _due(self) -> list[KeyFile]:
        """The files to merge next: of about one size, and together of the next."""
        by_size: dict[int, list[KeyFile]] = defaultdict(list)
        for file in self._view[0]:
            if self._is_own(file):
                by_size[bisect(_SIZES, len(file.records))].append(file)
        for size, files in sorted(by_size.items()):
            if sum(len(file.records) for file in files) >= _SIZES[size]:
                return files
        return []

    def _merged(self, files: Sequence[KeyFile], without: Collection[str]) -> list[KeyFile]:
        """One file, or none, of what the files hold but of the parts `without`."""
        parts, records = merged(files, without)
        return [KeyFile.write(self._new_path(), parts, records)] if parts else []

    def _show(self, files: Iterable[KeyFile], gone: frozenset[str]) -> None:
        """Let lookups see these files from now on, those aside of which every part is gone."""
        used = tuple(file for file in files if not file.parts.keys() <= gone)
        unused = [file for file in self._view[0] if file not in used]
        self._view = used, gone.intersection(*[set().union(*(file.parts for file in used))])
        for file in unused:
            self._discard(file)

    def _new_path(self) -> Path | None:
        if self._folder is None:
            return None
        make_folder(self._folder)
        self._next_number += 1
        return self._folder / f"keys-{self._next_number - 1:08d}.bin"

    def _is_own(self, file: KeyFile) -> bool:
        """Whether the file may be deleted: a reader leaves those of the lake as they are."""
        return (file.path is None) == (self._folder is None)

    def _discard(self, file: KeyFile) -> None:
        if file.path is not None and self._folder is not None:
            _delete(file.path)


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("keys-")
    return int(digits) if digits.isdecimal() else 0


def _delete(path: Path) -> None:
    with translate_os_errors(path, "Deleting"):
        path.unlink(missing_ok=True)


class SeenKeys:
    """Keys that were seen, in temporary files: 24 bytes each."""

    def __init__(self) -> None:
        """No key has been seen yet."""
        self._index = KeyIndex()
        self._batches = 0

    def first_seen(self, keys: Sequence[bytes]) -> list[int]:
        """The positions of those of `keys` that were not seen before, each key once; from now on they are.

        Raises:
            LakeError: The disk refuses.
        """
        known = self._index.locate(keys)
        positions = {key: position for position, key in reversed(list(enumerate(keys))) if key not in known}
        if positions:
            self._batches += 1
            new = np.frombuffer(b"".join(positions), np.uint8).reshape(-1, TEXT_KEY_BYTES)
            self._index.add([NewPart(str(self._batches), 0, new)])
        return sorted(positions.values())
