"""What runs found out about the limits of accounts, one entry an account and model, in one small JSON file.

Nothing depends on it: without it, or with what cannot be read of it, the next run finds out again.
"""

import json
from collections.abc import Mapping

from tasks.lake.places import Place
from tasks.lake.writing import write_bytes_atomically


class Limits:
    """The entries in the file at `path`: numbers by name, of which this room knows nothing."""

    def __init__(self, path: Place) -> None:
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
