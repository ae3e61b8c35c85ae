"""The vector parts of a store: which there are, which are damaged, and in which one each key is.

The folder's listing is the truth; the key index follows it, and is made again when it proves wrong. Parts that a
compaction has replaced are deleted here if the run that replaced them was killed before it could do so.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import Damage, remove_files, translate_os_errors
from millrace.tasks.lake.storage.location import LakePath, files_in, size_of
from millrace.tasks.lake.storage.object_path import ObjectPath
from millrace.tasks.lake.vectors.key_index import IndexDamaged, KeyIndex
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

    For a writer the index file at `index_path` is kept in step. A reader uses it as it is, if it can be used at all,
    and indexes what is missing from it in a temporary file.
    """

    def __init__(self, folder: LakePath, index_path: Path, layout: Layout, *, read_only: bool) -> None:
        """An index in step with the folder.

        Raises:
            LakeError: The folder or the index cannot be read or written. Damaged parts raise nothing: see `damaged`.
        """
        self._folder = folder
        self._index_path = index_path
        self._layout = layout
        self._refreshing = threading.RLock()
        self._changes = 0
        self._seen_ns = 0
        self._deleted: frozenset[str] = frozenset()
        self._usable: frozenset[str] = frozenset()
        self._damaged: dict[LakePath, Damage] = {}
        self._found: KeyIndex | None = None
        self._read_only = read_only
        if read_only:
            self._found = KeyIndex.open_read_only(index_path)
            self._own = KeyIndex.temporary()
        else:
            self._own = KeyIndex.open(index_path)
        try:
            self.refresh()
        except LakeError:
            self._close_indexes()
            raise

    @property
    def damaged(self) -> list[Damage]:
        """The damaged parts found so far."""
        return list(self._damaged.values())

    def report(self, damage: Damage) -> None:
        """Remember that a part was found damaged."""
        self._damaged[damage.path] = damage

    def rows(self) -> dict[str, int]:
        """The usable parts in the order in which they were embedded: file name to rows."""
        try:
            known = self._known_rows()
        except IndexDamaged:
            self.rebuild()
            known = self._known_rows()
        return {name: known[name] for name in sorted(self._usable & known.keys(), key=_order)}

    def locate(self, keys: Iterable[bytes]) -> dict[bytes, tuple[str, int]]:
        """Part name and row of each key that is in a part."""
        wanted = list(keys)
        changes = self._changes
        try:
            found = self._lookup(wanted)
        except IndexDamaged:
            with self._refreshing:
                if changes == self._changes:
                    self.rebuild()
        if changes != self._changes or changes % 2:
            with self._refreshing:  # it was looked at while it was not in step
                found = self._lookup(wanted)
        if self._read_only and len(found) < len(set(wanted)) and _changed_ns(self._folder) != self._seen_ns:
            with self._refreshing:
                self.refresh()  # the writer has made parts since
                found = self._lookup(wanted)
        return found

    def add(self, path: LakePath, keys: KeyBytes) -> None:
        """Take in the part at `path`, durable and holding `keys` in this order."""
        with self._refreshing:
            self._own.add(path.name, _size(path), keys)
            self._usable |= {path.name}
            self._deleted -= {path.name}  # a journal outlived its part, and has become it again

    def merge(self, path: LakePath, replaced: Mapping[str, int]) -> None:
        """Take in the part at `path`, durable and holding the rows of other parts, in their place.

        `replaced` are their names and rows, in order.
        """
        with self._refreshing:
            if not self._own.merge(path.name, _size(path), replaced):
                self._own.add(path.name, _size(path), read_keys(path, self._layout))
            self._usable = (self._usable | {path.name}) - replaced.keys()

    def drop(self, names: Iterable[str]) -> None:
        """Forget parts whose files are deleted."""
        with self._refreshing:
            deleted = frozenset(names)
            if deleted:
                self._own.drop(deleted)
                self._usable -= deleted
            for name in deleted:
                self._damaged.pop(self._folder / name, None)

    def refresh(self) -> None:
        """Bring the index in step with the folder, and finish a compaction that was interrupted."""
        with self._refreshing:
            try:
                self._refresh()
            except IndexDamaged:
                self.rebuild()

    def _refresh(self) -> None:
        with self._changing():
            self._seen_ns = _changed_ns(self._folder)
            listing = _listing(self._folder)
            known = {name: size for index in self._indexes() for name, size in index.sizes().items()}
            superseded = {name for index in self._indexes() for name in index.superseded()}
            new = self._footers(listing.keys() - known.keys() - superseded)
            merged = {name: f.replaces for name, f in new.items() if f.replaces.keys() & listing.keys()}
            superseded |= self._replaced_by(merged)
            self._own.supersede(superseded & listing.keys())
            self._usable = frozenset(listing.keys() & known.keys()) - superseded
            # Only what is known to be deleted is left out: a part may be new since the folder was listed.
            self._deleted = frozenset(known.keys() - listing.keys())
            for name in self._usable:
                if listing[name] != known[name]:
                    why = f"it has {listing[name]} bytes and had {known[name]} when it was written"
                    # Its keys stay known: reading one is an error, and none is embedded again in silence.
                    self.report(PartDamaged(self._folder / name, why).damage)
            self._take_in({name: footer for name, footer in new.items() if name not in superseded}, first=not known)
            if not self._read_only:
                remove_files([self._folder / name for name in sorted(superseded & listing.keys())])
                self.drop((superseded | known.keys()) - self._usable)

    def rebuild(self) -> None:
        """Throw the index away and make it again from the parts."""
        with self._refreshing, self._changing():
            if self._read_only:
                self._close_indexes()
                self._found, self._own = None, KeyIndex.temporary()
            else:
                self._own.close()
                self._own = KeyIndex.renew(self._index_path)
            self._usable = frozenset()
            self._refresh()

    def close(self) -> None:
        """Close the indexes; a writer's gets its checksum first."""
        if not self._read_only:
            with suppress(LakeError):  # without one it is merely made again
                self._own.seal()
        self._close_indexes()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let lookups in other threads know that the index is changing: `_changes` is odd until the outermost ends."""
        outermost = self._changes % 2 == 0
        if outermost:
            self._changes += 1
        try:
            yield
        finally:
            if outermost:
                self._changes += 1

    def _close_indexes(self) -> None:
        for index in self._indexes():
            index.close()

    def _indexes(self) -> list[KeyIndex]:
        return [self._own] if self._found is None else [self._found, self._own]

    def _known_rows(self) -> dict[str, int]:
        return {name: rows for index in self._indexes() for name, rows in index.rows().items()}

    def _lookup(self, wanted: list[bytes]) -> dict[bytes, tuple[str, int]]:
        found: dict[bytes, tuple[str, int]] = {}
        for index in self._indexes():
            left = [key for key in wanted if key not in found]
            if left:
                found |= {key: at for key, at in index.locate(left).items() if at[0] not in self._deleted}
        return found

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

    def _replaced_by(self, merged: Mapping[str, Mapping[str, int]]) -> set[str]:
        """The parts whose rows other parts hold; `merged` are, by name of the other, the parts it was made from.

        Each of the others is read to its end first: only what is sound may replace what it was made from.
        """
        replaced: set[str] = set()
        for name, parts in merged.items():
            damage = check_part(self._folder / name, self._layout)
            if damage is None:
                replaced |= parts.keys()
            else:
                self.report(damage)
        return replaced

    def _take_in(self, footers: Mapping[str, Footer], *, first: bool) -> None:
        """Index new parts; `first` when the index is empty, and then all their keys are sorted together."""
        sound = (
            (name, _size(self._folder / name), keys) for name in footers if (keys := self._keys_of(name)) is not None
        )
        if first:
            self._own.load(sound, sum(footer.rows for footer in footers.values()))
        else:
            for name, size, keys in sound:
                self._own.add(name, size, keys)
        self._usable |= footers.keys() & self._own.sizes().keys()

    def _keys_of(self, name: str) -> KeyBytes | None:
        try:
            return read_keys(self._folder / name, self._layout)
        except PartDamaged as error:
            self.report(error.damage)
        except FileNotFoundError:
            pass  # compacted by the writer since it was listed
        return None


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
