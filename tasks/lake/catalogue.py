"""Which parts a vector store has, which of them are sound, and where each key is.

The folder's listing is the truth; the index follows it, and is made again when it proves wrong. Parts that a compaction
has replaced are deleted here when the run that replaced them was killed before it could.
"""

import threading
from collections.abc import Iterable
from pathlib import Path

from tasks.errors import LakeError
from tasks.lake.batches import KeyBytes
from tasks.lake.index import IndexDamaged, KeyIndex
from tasks.lake.parts import Damage, PartDamaged, check_part, part_number, read_footer, read_keys
from tasks.lake.writing import disk_errors, remove_files


class Catalogue:
    """The parts in `folder` and where their keys are.

    For a writer the index file at `index_path` is kept in step. For a reader it is taken as it is found, if it is any
    good, and what it lacks is indexed on the side, in a temporary file.
    """

    def __init__(self, folder: Path, index_path: Path, dimensions: int, *, read_only: bool) -> None:
        """A catalogue in step with the folder.

        Raises:
            LakeError: The folder or the index cannot be read or written. Damaged parts raise nothing: see `damaged`.
        """
        self._folder = folder
        self._index_path = index_path
        self._dimensions = dimensions
        self._refreshing = threading.RLock()
        self._seen_ns = 0
        self._usable: frozenset[str] = frozenset()
        self._damaged: dict[Path, Damage] = {}
        self._found: KeyIndex | None = None
        if read_only:
            self._found = KeyIndex.open_read_only(index_path)
            self._own = KeyIndex.temporary()
        else:
            self._own = KeyIndex.open(index_path)
        self._read_only = read_only
        try:
            self._refresh_or_rebuild()
        except LakeError:
            self.close()
            raise

    @property
    def damaged(self) -> list[Damage]:
        """The damaged parts found so far."""
        return list(self._damaged.values())

    def report(self, damage: Damage) -> None:
        """Remember that a part was found damaged."""
        self._damaged[damage.path] = damage

    def rows(self) -> dict[str, int]:
        """The usable parts in order of purchase: file name to rows."""
        known = {name: rows for index in self._indexes() for name, rows in index.rows().items()}
        return {name: known[name] for name in sorted(self._usable & known.keys(), key=_order)}

    def locate(self, keys: Iterable[bytes]) -> dict[bytes, tuple[str, int]]:
        """Part name and row of each key that is in a part."""
        wanted = list(keys)
        try:
            found = self._lookup(wanted)
        except IndexDamaged:
            self.rebuild()
            found = self._lookup(wanted)
        if self._read_only and len(found) < len(set(wanted)) and _changed_ns(self._folder) != self._seen_ns:
            self.refresh()  # the writer has made parts since
            found = self._lookup(wanted)
        return found

    def add(self, path: Path, keys: KeyBytes, *, supersedes: Iterable[str] = ()) -> None:
        """Take in the part at `path`, durable and holding `keys` in this order, in place of those it supersedes."""
        with self._refreshing:
            replaced = frozenset(supersedes)
            with disk_errors(path, "Reading"):
                size = path.stat().st_size
            self._own.add(path.name, size, keys, supersedes=replaced)
            self._usable = (self._usable | {path.name}) - replaced

    def drop(self, names: Iterable[str]) -> None:
        """Forget parts whose files are gone."""
        with self._refreshing:
            gone = frozenset(names)
            if gone:
                self._own.drop(gone)
                self._usable -= gone
            for name in gone:
                self._damaged.pop(self._folder / name, None)

    def refresh(self) -> None:
        """Bring the index in step with the folder, and finish a compaction that was interrupted."""
        with self._refreshing:
            self._seen_ns = _changed_ns(self._folder)
            listing = _listing(self._folder)
            known = {name: size for index in self._indexes() for name, size in index.sizes().items()}
            superseded = self._superseded()
            for name in sorted(listing.keys() - known.keys() - superseded, key=_order):
                self._take_in(self._folder / name)
            superseded = self._superseded()
            self._usable = frozenset((listing.keys() & known.keys()) | (self._usable & listing.keys())) - superseded
            for name in self._usable & known.keys():
                if listing[name] != known[name]:
                    why = f"it has {listing[name]} bytes and had {known[name]} when it was written"
                    # Its keys stay known: what was paid for is missed with a message, not bought again in silence.
                    self.report(PartDamaged(self._folder / name, why).damage)
            if not self._read_only:
                remove_files([self._folder / name for name in sorted(superseded & listing.keys())])
                self.drop((superseded | known.keys()) - self._usable)

    def rebuild(self) -> None:
        """Throw the index away and make it again from the parts."""
        with self._refreshing:
            if self._read_only:
                self._close_indexes()
                self._found, self._own = None, KeyIndex.temporary()
            else:
                self._own.close()
                self._own = KeyIndex.renew(self._index_path)
            self._usable = frozenset()
            self.refresh()

    def close(self) -> None:
        """Close the indexes."""
        self._close_indexes()

    def _refresh_or_rebuild(self) -> None:
        try:
            self.refresh()
        except IndexDamaged:
            self.rebuild()

    def _close_indexes(self) -> None:
        for index in self._indexes():
            index.close()

    def _indexes(self) -> list[KeyIndex]:
        return [self._own] if self._found is None else [self._found, self._own]

    def _lookup(self, wanted: list[bytes]) -> dict[bytes, tuple[str, int]]:
        found: dict[bytes, tuple[str, int]] = {}
        for index in self._indexes():
            left = [key for key in wanted if key not in found]
            if left:
                found |= {key: at for key, at in index.locate(left).items() if at[0] in self._usable}
        return found

    def _superseded(self) -> set[str]:
        return {name for index in self._indexes() for name in index.superseded()}

    def _take_in(self, path: Path) -> None:
        """Index a part that nobody has indexed, unless one just taken in has replaced it."""
        if path.name in self._superseded():
            return
        try:
            replaces = read_footer(path, self._dimensions).replaces
            damage = check_part(path, self._dimensions) if replaces else None
            if damage is not None:  # what it was made from is deleted only when it can stand for it
                self.report(damage)
                return
            self.add(path, read_keys(path), supersedes=replaces)
        except PartDamaged as error:
            self.report(error.damage)
        except FileNotFoundError:
            return  # compacted by the writer since it was listed


def _order(name: str) -> tuple[int, str]:
    return part_number(name) or 0, name


def _changed_ns(folder: Path) -> int:
    """When a file was last made, renamed or deleted in the folder, in nanoseconds; 0 when it is not there."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _listing(folder: Path) -> dict[str, int]:
    """The parts in the folder: file name to size in bytes."""
    if not folder.is_dir():
        return {}
    sizes: dict[str, int] = {}
    with disk_errors(folder, "Listing"):
        for path in folder.iterdir():
            if part_number(path.name) is not None:
                try:
                    sizes[path.name] = path.stat().st_size
                except FileNotFoundError:
                    continue  # compacted by the writer since it was listed
    return sizes
