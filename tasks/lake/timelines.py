"""How each run went, sample by sample: one JSON file a run.

It is written while the run goes on, so that one that is killed leaves most of it. Nothing depends on it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from tasks.lake.places import Place
from tasks.lake.writing import make_folder, write_bytes_atomically
from tasks.records import JsonValue

FOLDER = "timelines"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Samples of one run, oldest first, in the words of whoever took them.

    Every column has one number a sample; `facts` are what else is to be remembered. `updated` is UTC, ISO 8601.
    """

    run: str
    updated: str = ""
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


class Timelines:
    """The timelines of the collection whose folder is `collection_dir`, in `timelines/`."""

    def __init__(self, collection_dir: Place) -> None:
        self._folder = collection_dir / FOLDER

    def save(self, timeline: Timeline) -> None:
        """Write the timeline in place of its earlier version, durably. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        data = json.dumps(asdict(timeline), ensure_ascii=False, separators=(",", ":"), default=dict).encode()
        write_bytes_atomically(data, self._path(timeline.run))

    def of(self, run: str) -> Timeline | None:
        """The timeline of `run`; None when there is none, or none that can be read."""
        try:
            found = Timeline(**json.loads(self._path(run).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return found if _is_sound(found) else None

    def _path(self, run: str) -> Place:
        return self._folder / f"{run}.json"


def _is_sound(timeline: Timeline) -> bool:
    columns, facts = timeline.columns, timeline.facts
    if not (isinstance(columns, dict) and isinstance(facts, dict)):
        return False
    if not all(isinstance(column, list) for column in columns.values()):
        return False
    numbers = all(type(value) in {int, float} for column in columns.values() for value in column)
    return numbers and len({len(column) for column in columns.values()}) <= 1
