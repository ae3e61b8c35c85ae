"""What runs found out about the limits of accounts, one entry an account and model, in one small JSON file.

Nothing depends on it: without it, or with what cannot be read of it, the next run finds out again.

What the lake remembers of aliases: the way back, and which collections were being made; one small JSON file.

Milvus alone knows what an alias stands for now. Nothing else depends on this file: without it there is no way back but
by name, and a collection that was being made is looked at as a stranger's.
"""

import json
from collections.abc import Mapping, Sequence

from millrace.tasks.lake.storage.atomic import write_bytes_atomically
from millrace.tasks.lake.storage.lease import Lease
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.lake.storage.object_lease import ObjectLease, lease_at

_EARLIER, _MAKING = "earlier", "making"


class Switches:
    """The entries in the file at `path`; whoever changes them holds the lease.

    Aliases and collections are known by names that the caller chooses.
    """

    def __init__(self, path: LakePath) -> None:
        self._path = path

    def hold(self) -> Lease | ObjectLease:
        """The lease of the one who changes entries, which is not that of the lake: a way back must not wait for a run.

        Raises:
            LeaseHeld: Another living process has it.
            LakeError: It cannot be written.
        """
        return lease_at(self._path.with_suffix(".lease"), f"The record of aliases {self._path}")

    def earlier(self, alias: str) -> list[str]:
        """The collections that `alias` stood for before the present one, each once, the last one last."""
        return self._all()[_EARLIER].get(alias, [])

    def save_earlier(self, alias: str, earlier: Sequence[str]) -> None:
        """Set the entry of `alias`, durably. Raises LakeError."""
        entries = self._all()
        entries[_EARLIER][alias] = list(earlier)
        self._save(entries)

    def is_being_made(self, name: str) -> bool:
        """Whether the making of a collection was begun, and not finished."""
        return name in self._all()[_MAKING]

    def begin(self, name: str) -> None:
        """Note that a collection is being made which was not there before, durably. Raises LakeError."""
        entries = self._all()
        entries[_MAKING][name] = []
        self._save(entries)

    def finish(self, name: str) -> None:
        """Note that it is made, durably. Raises LakeError."""
        entries = self._all()
        if entries[_MAKING].pop(name, None) is not None:
            self._save(entries)

    def _save(self, entries: dict[str, dict[str, list[str]]]) -> None:
        write_bytes_atomically(json.dumps(entries, ensure_ascii=False, indent=1, sort_keys=True).encode(), self._path)

    def _all(self) -> dict[str, dict[str, list[str]]]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            found = {}
        return {part: _lists(found.get(part) if isinstance(found, dict) else None) for part in (_EARLIER, _MAKING)}


def _lists(found: object) -> dict[str, list[str]]:
    """What is fit to be an entry of what the file has, which anybody may have edited."""
    if not isinstance(found, dict):
        return {}
    return {
        name: [one for one in entry if isinstance(one, str)] for name, entry in found.items() if isinstance(entry, list)
    }


class Limits:
    """The entries in the file at `path`: numbers by name, of which this room knows nothing."""

    def __init__(self, path: LakePath) -> None:
        self._path = path

    def read(self, account: str) -> dict[str, float]:
        """The entry of `account`; empty if there is none."""
        entry = self._all().get(account)
        return {name: float(value) for name, value in (entry or {}).items() if isinstance(value, int | float)}

    def save(self, account: str, values: Mapping[str, float]) -> None:
        """Set the entry of `account`, or with no values forget it, durably. Raises LakeError."""
        entries = self._all()
        if entries.get(account, {}) == values:
            return
        entries[account] = dict(values)
        kept = {name: entry for name, entry in sorted(entries.items()) if entry}
        write_bytes_atomically(json.dumps(kept, ensure_ascii=False, indent=1).encode(), self._path)

    def _all(self) -> dict[str, dict[str, float]]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        return {name: entry for name, entry in found.items() if isinstance(entry, dict)}
