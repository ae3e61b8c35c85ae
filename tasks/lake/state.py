"""What the lake remembers beside its data: learned limits, aliases, settings of a collection; each a small JSON file.

None is depended upon. Without the limits, the next run finds them out again. Without the aliases there is no way
back but by name, and a collection that was being built counts as somebody else's: Milvus alone knows what an alias
stands for now. Without its settings a collection goes by those of its last run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.atomic import Checkpoint, Damage, no_checkpoint
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.lease import Lease
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.lake.storage.object_lease import ObjectLease, lease_at

_EARLIER, _MAKING, _NOW = "earlier", "making", "now"


class StateFile:
    """A small JSON file at `path` that can be done without: one that is damaged counts as empty, and is named.

    `consequence` ends the message about a damaged one.
    """

    def __init__(self, path: LakePath, *, consequence: str) -> None:
        self._path = path
        self._consequence = consequence

    def damaged(self) -> list[Damage]:
        """The file, should it be damaged, and what follows from it."""
        try:
            read_json(self._path)
        except FileNotFoundError:
            return []
        except LakeError as error:
            return [Damage(self._path, f"{error} {self._consequence}")]
        return []

    def _read(self) -> dict[str, dict[str, Any]]:
        """The entries that are objects. Raises LakeUnreachable."""
        try:
            content = read_json(self._path)
        except LakeUnreachable:
            raise
        except (FileNotFoundError, LakeError):
            return {}
        return {name: entry for name, entry in content.items() if isinstance(entry, dict)}

    def _write(self, entries: Mapping[str, Mapping[str, object]]) -> None:
        write_json(self._path, dict(sorted(entries.items())))


class LearnedLimitsFile(StateFile):
    """What runs found out about the limits of accounts: numbers by name, one entry an account and model."""

    def __init__(self, path: LakePath) -> None:
        super().__init__(path, consequence="The next run finds the limits out again, and writes it anew.")

    def read(self, account: str) -> dict[str, float]:
        """The entry of `account`; empty if there is none. Raises LakeUnreachable."""
        entry = self._read().get(account, {})
        return {name: float(value) for name, value in entry.items() if isinstance(value, int | float)}

    def save(self, account: str, values: Mapping[str, float]) -> None:
        """Set the entry of `account`, or with no values forget it, durably. Raises LakeError."""
        entries = self._read()
        if entries.get(account, {}) == values:
            return
        self._write({name: entry for name, entry in (entries | {account: dict(values)}).items() if entry})


class CollectionSettings(StateFile):
    """The settings that the rows of a collection were made by, by section and key, of which nothing is known here."""

    def __init__(self, path: LakePath, *, checkpoint: Checkpoint = no_checkpoint) -> None:
        super().__init__(path, consequence="The settings of the last run count in its place; it can be deleted.")
        self._checkpoint = checkpoint

    def read(self) -> dict[str, dict[str, Any]]:
        """By section; empty where they were not written yet. Raises LakeUnreachable."""
        return self._read()

    def save(self, values: Mapping[str, Mapping[str, object]]) -> None:
        """Write them, durably, where they differ. Raises LakeError."""
        if self._read() != values:
            self._write(values)
            self._checkpoint("saved")


class Switches(StateFile):
    """What aliases stood for, and which collections are being built; whoever changes that holds the lease.

    Aliases and collections are known by names that the caller chooses.
    """

    def __init__(self, path: LakePath) -> None:
        super().__init__(path, consequence="Aliases have no way back but by name; it can be deleted.")

    def acquire_lease(self) -> Lease | ObjectLease:
        """The lease of the one who changes entries, which is not that of the lake: a way back must not wait for a run.

        Raises:
            LeaseHeld: Another living process has it.
            LakeError: It cannot be written.
        """
        return lease_at(self._path.with_suffix(".lease"), f"The record of aliases {self._path}")

    def earlier(self, alias: str) -> list[str]:
        """The collections that `alias` stood for before the present one, each once, the last one last."""
        return self._lists()[_EARLIER].get(alias, [])

    def moved_from(self, name: str) -> list[str]:
        """The aliases that stood for the collection `name` before another one."""
        return [alias for alias, earlier in self._lists()[_EARLIER].items() if name in earlier]

    def now(self) -> dict[str, str]:
        """What each alias stood for when it was moved last; Milvus alone knows whether it still does."""
        return {alias: names[-1] for alias, names in self._lists()[_NOW].items() if names}

    def save_now(self, alias: str, name: str) -> None:
        """Note what `alias` stands for, durably. Raises LakeError."""
        entries = self._lists()
        entries[_NOW][alias] = [name]
        self._write(entries)

    def save_earlier(self, alias: str, earlier: Sequence[str]) -> None:
        """Set the entry of `alias`, durably. Raises LakeError."""
        entries = self._lists()
        entries[_EARLIER][alias] = list(earlier)
        self._write(entries)

    def is_being_made(self, name: str) -> bool:
        """Whether the making of a collection was begun, and not finished."""
        return name in self._lists()[_MAKING]

    def begin(self, name: str) -> None:
        """Note that a collection is being made which was not there before, durably. Raises LakeError."""
        entries = self._lists()
        entries[_MAKING][name] = []
        self._write(entries)

    def finish(self, name: str) -> None:
        """Note that it is made, durably. Raises LakeError."""
        entries = self._lists()
        if entries[_MAKING].pop(name, None) is not None:
            self._write(entries)

    def _lists(self) -> dict[str, dict[str, list[str]]]:
        """What of the file, which anybody may have edited, is fit to be an entry."""
        content = self._read()
        return {
            part: {
                name: [one for one in entry if isinstance(one, str)]
                for name, entry in content.get(part, {}).items()
                if isinstance(entry, list)
            }
            for part in (_EARLIER, _MAKING, _NOW)
        }
