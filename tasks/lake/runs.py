"""What each run did and cost: one small JSON file a run."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from tasks.lake.places import Place
from tasks.lake.writing import make_folder, write_bytes_atomically
from tasks.records import JsonValue


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. Times are UTC, ISO 8601; `ended` and `exit` stay None when it was killed or is still running.

    `counts`, `tokens` and `cost_cny` are those of `ingest --json`; `settings` are the effective ones without secrets.
    """

    id: str
    command: str
    started: str
    ended: str | None = None
    exit: int | None = None
    counts: Mapping[str, JsonValue] = field(default_factory=dict)
    tokens: Mapping[str, JsonValue] = field(default_factory=dict)
    cost_cny: float = 0.0
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


def new_run_id(now: datetime | None = None) -> str:
    """An id that is unique and sorts by time, e.g. "20261120T141530.250Z-9c3f01"."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"


class Runs:
    """The run records of the collection whose folder is `collection_dir`, in `runs/`."""

    def __init__(self, collection_dir: Place) -> None:
        self._folder = collection_dir / "runs"

    def save(self, record: RunRecord) -> None:
        """Write the record in place of its earlier version, durably. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        data = json.dumps(asdict(record), ensure_ascii=False, indent=1, default=dict).encode()
        write_bytes_atomically(data, self._folder / f"{record.id}.json")

    def newest(self, limit: int | None = None) -> list[RunRecord]:
        """The last `limit` runs, newest first; a record that cannot be read is left out (see `unreadable`)."""
        records: list[RunRecord] = []
        for path in self._paths():
            record = _parsed(path)
            if record is not None:
                records.append(record)
            if limit is not None and len(records) >= limit:
                break
        return records

    def unreadable(self) -> list[Place]:
        """Records that are damaged. Nothing depends on them; they can be deleted."""
        return [path for path in self._paths() if _parsed(path) is None]

    def _paths(self) -> list[Place]:
        return sorted(self._folder.glob("*.json"), reverse=True) if self._folder.is_dir() else []


def _parsed(path: Place) -> RunRecord | None:
    try:
        return RunRecord(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
