"""The vector parts of a store: which there are, which are damaged, and in which one each key is.

The folder's listing is the truth; the key index follows it, and is made again when it proves wrong. Parts that a
compaction has replaced are deleted here if the run that replaced them was killed before it could do so.
"""

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from millrace.tasks.lake.storage.atomic import Damage, remove_files, translate_os_errors
from millrace.tasks.lake.storage.location import LakePath, files_in, size_of
from millrace.tasks.lake.storage.object_path import ObjectPath
from millrace.tasks.lake.vectors.key_index import KeyIndex, NewPart
from millrace.tasks.lake.vectors.part_file import (
    Footer,
    PartDamaged,
    check_part,
    part_number,
    read_footer,
    read_keys,
)
from millrace.tasks.lake.vectors.schema import KeyBytes, Layout

_LOOK_AGAIN_NS = 10_000_000_000


class PartIndex:
    """The parts in `folder` and where their keys are.

    For a writer the key files in `index_folder` are kept in step. A reader uses those that are whole, and indexes what
    is missing from them in temporary files.
    """

    def __init__(self, folder: LakePath, index_folder: Path, layout: Layout, *, read_only: bool) -> None:
        """An index in step with the folder.

        Raises:
            LakeError: The folder or the index cannot be read or written. Damaged parts raise nothing: see `damaged`.
        """
        self._folder = folder
        self._layout = layout
        self._read_only = read_only
        self._refreshing = threading.RLock()
        self._seen_ns = 0
        self._superseded: frozenset[str] = frozenset()
        self._damaged: dict[LakePath, Damage] = {}
        self._index = KeyIndex.open(index_folder, read_only=read_only)
        self.refresh()

    @property
    def damaged(self) -> list[Damage]:
        """The damaged parts found so far."""
        return list(self._damaged.values())

    def report(self, damage: Damage) -> None:
        """Remember that a part was found damaged."""
        self._damaged[damage.path] = damage

    def rows(self) -> dict[str, int]:
        """The usable parts in the order in which they were embedded: file name to rows."""
        known = self._index.parts()
        return {name: known[name].rows for name in sorted(known, key=_order)}

    def locate(self, keys: Iterable[bytes]) -> dict[bytes, tuple[str, int]]:
        """Part name and row of each key that is in a part."""
        wanted = set(keys)
        found = self._index.locate(wanted)
        if self._read_only and len(found) < len(wanted) and _changed_ns(self._folder) != self._seen_ns:
            self.refresh()  # the writer has made parts since
            found = self._index.locate(wanted)
        return found

    def add(self, path: LakePath, keys: KeyBytes, replaces: Collection[str] = ()) -> None:
        """Take in the part at `path`, durable and holding `keys` in this order, and forget those that it `replaces`."""
        with self._refreshing:
            self._superseded |= frozenset(replaces)
            self._index.add([NewPart(path.name, _size(path), keys, list(replaces))])

    def drop(self, names: Iterable[str]) -> None:
        """Forget parts whose files are deleted."""
        with self._refreshing:
            deleted = frozenset(names)
            self._index.drop(deleted)
            for name in deleted:
                self._damaged.pop(self._folder / name, None)

    def refresh(self) -> None:
        """Bring the index in step with the folder, and finish a compaction that was interrupted."""
        with self._refreshing:
            self._follow_folder(self._index)

    def rebuild(self) -> None:
        """Throw the index away and make it again from the parts; until it is whole, lookups see the old one."""
        with self._refreshing:
            new = self._index.renewed()
            self._follow_folder(new)
            self._index = new

    def _follow_folder(self, index: KeyIndex) -> None:
        seen_ns = _changed_ns(self._folder)
        listing = _listing(self._folder)
        known = {name: part for name, part in index.parts().items() if name in listing}
        for name, part in known.items():
            if listing[name] != part.size:
                why = f"it has {listing[name]} bytes and had {part.size} when it was written"
                # Its keys stay known: reading one is an error, and none is embedded again in silence.
                self.report(PartDamaged(self._folder / name, why).damage)
        new = self._footers(listing.keys() - known.keys() - self._superseded)
        left = listing.keys() - self._superseded
        replaces = {name: part.replaces for name, part in (known | new).items() if not left.isdisjoint(part.replaces)}
        sound = {name: list(replaced) for name, replaced in replaces.items() if self._is_sound(name)}
        self._superseded = self._superseded.union(*sound.values())
        # Added before any is dropped: a lookup meanwhile finds a key in the one part or in the other.
        index.add(self._new_parts([name for name in new if name not in self._superseded], sound))
        index.drop((index.parts().keys() - listing.keys()) | self._superseded)
        if not self._read_only:
            remove_files([self._folder / name for name in sorted(self._superseded & listing.keys())])
        self._seen_ns = seen_ns

    def _footers(self, names: Iterable[str]) -> dict[str, Footer]:
        """The footers of the parts that open, in the order in which they were embedded."""
        footers: dict[str, Footer] = {}
        for name in sorted(names, key=_order):
            try:
                footers[name] = read_footer(self._folder / name, self._layout)
            except PartDamaged as error:
                self.report(error.damage)
            except FileNotFoundError:
                continue  # compacted by the writer since it was listed
        return footers

    def _is_sound(self, name: str) -> bool:
        """Whether the part can be read to its end: only then may it replace those that it was made from."""
        damage = check_part(self._folder / name, self._layout)
        if damage is not None:
            self.report(damage)
        return damage is None

    def _new_parts(self, names: Iterable[str], replaces: Mapping[str, Sequence[str]]) -> Iterator[NewPart]:
        """The parts of which the keys can be read."""
        for name in names:
            try:
                keys = read_keys(self._folder / name, self._layout)
            except PartDamaged as error:
                self.report(error.damage)
            except FileNotFoundError:
                continue  # compacted by the writer since it was listed
            else:
                yield NewPart(name, _size(self._folder / name), keys, replaces.get(name, ()))


def _order(name: str) -> tuple[int, str]:
    return part_number(name) or 0, name


def _size(path: LakePath) -> int:
    with translate_os_errors(path, "Reading"):
        return size_of(path)


def _changed_ns(folder: LakePath) -> int:
    """When a file was last made, renamed or deleted in the folder, in nanoseconds; 0 when it is not there.

    Of objects that is not known; they may always have changed, but are listed once in a while at most.
    """
    if isinstance(folder, ObjectPath):
        return time.monotonic_ns() // _LOOK_AGAIN_NS
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _listing(folder: LakePath) -> dict[str, int]:
    """The parts in the folder: file name to size in bytes."""
    with translate_os_errors(folder, "Listing"):
        return {name: size for name, size in files_in(folder) if part_number(name) is not None}
