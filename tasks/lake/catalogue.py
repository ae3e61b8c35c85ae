"""Which parts a vector store has, which of them are sound, and where each key is.

The folder's listing is the truth; the index follows it. A part that its compaction has replaced is deleted here when
the run that did it was killed in between.
"""

import threading
from collections.abc import Iterable
from pathlib import Path

from tasks.errors import LakeError
from tasks.lake.batches import KeyBytes
from tasks.lake.index import KeyIndex
from tasks.lake.parts import Damage, Footer, PartDamaged, part_number, read_footer, read_keys
from tasks.lake.writing import disk_errors, remove_files


class Catalogue:
    """The parts in `folder` and the index over them; for reading only, what the index lacks is indexed on the side."""

    def __init__(self, folder: Path, dimensions: int, index: KeyIndex | None, *, read_only: bool) -> None:
        self._folder = folder
        self._dimensions = dimensions
        self._index = index
        self._aside = KeyIndex.temporary() if read_only else None
        self._refreshing = threading.RLock()
        self._usable: frozenset[str] = frozenset()
        self._damaged: dict[Path, Damage] = {}
        try:
            self.refresh()
        except LakeError:
            self.close()
            raise

    @classmethod
    def open(cls, folder: Path, index_path: Path, dimensions: int, *, read_only: bool) -> "Catalogue":
        """The catalogue of the parts in `folder`; its index is brought in step with them first.

        Raises:
            LakeError: The folder or the index cannot be read or written. Damaged parts raise nothing: see `damaged`.
        """
        index = KeyIndex.open_read_only(index_path) if read_only else KeyIndex.open(index_path)
        return cls(folder, dimensions, index, read_only=read_only)

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
        found: dict[bytes, tuple[str, int]] = {}
        for index in self._indexes():
            left = [key for key in wanted if key not in found]
            if left:
                found |= {key: at for key, at in index.locate(left).items() if at[0] in self._usable}
        return found

    def add(self, path: Path, keys: KeyBytes, *, supersedes: Iterable[str] = ()) -> None:
        """Take in the part at `path`, durable and holding `keys` in this order, in place of those it supersedes."""
        with self._refreshing:
            replaced = frozenset(supersedes)
            index = self._aside or self._index
            assert index is not None
            with disk_errors(path, "Reading"):
                size = path.stat().st_size
            index.add(path.name, size, keys, supersedes=replaced)
            self._usable = (self._usable | {path.name}) - replaced

    def drop(self, names: Iterable[str]) -> None:
        """Forget parts whose files are gone."""
        with self._refreshing:
            gone = frozenset(names)
            if self._aside is None and self._index is not None:
                self._index.drop(gone)
            self._usable -= gone
            for name in gone:
                self._damaged.pop(self._folder / name, None)

    def refresh(self) -> None:
        """Bring the index in step with the folder, and finish a compaction that was interrupted."""
        with self._refreshing:
            listing = _listing(self._folder)
            known = {name: size for index in self._indexes() for name, size in index.sizes().items()}
            superseded = {name for index in self._indexes() for name in index.superseded()}
            footers = self._footers(name for name in listing if name not in known and name not in superseded)
            superseded |= {name for footer in footers.values() for name in footer.replaces}
            self._usable = frozenset(name for name in listing if name in known and name not in superseded)
            for name in self._usable:
                if listing[name] != known[name]:
                    why = f"it has {listing[name]} bytes and had {known[name]} when it was written"
                    # Its keys stay known: what was paid for is missed with a message, not bought again in silence.
                    self.report(PartDamaged(self._folder / name, why).damage)
            for name, footer in footers.items():
                self._take_in(name, footer)
            if self._aside is None:
                remove_files([self._folder / name for name in sorted(superseded & listing.keys())])
            self.drop((superseded | known.keys()) - self._usable)

    def close(self) -> None:
        """Close the indexes."""
        for index in self._indexes():
            index.close()

    def _indexes(self) -> list[KeyIndex]:
        return [index for index in (self._index, self._aside) if index is not None]

    def _footers(self, names: Iterable[str]) -> dict[str, Footer]:
        footers: dict[str, Footer] = {}
        for name in sorted(names, key=_order):
            try:
                footers[name] = read_footer(self._folder / name, self._dimensions)
            except PartDamaged as error:
                self.report(error.damage)
            except FileNotFoundError:
                continue  # compacted by the writer since it was listed
        return footers

    def _take_in(self, name: str, footer: Footer) -> None:
        path = self._folder / name
        try:
            self.add(path, read_keys(path), supersedes=footer.replaces)
        except PartDamaged as error:
            self.report(error.damage)
        except FileNotFoundError:
            return


def _order(name: str) -> tuple[int, str]:
    return part_number(name) or 0, name


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
