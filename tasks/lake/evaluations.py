"""How well an index answered, by run: one small JSON file an evaluation."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from tasks.lake.places import Place
from tasks.lake.writing import make_folder, write_bytes_atomically
from tasks.records import JsonValue

FOLDER = "evaluations"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the evaluation `run` measured, in the words of whoever made it; see `new_run_id` for what sorts by time."""

    run: str
    result: Mapping[str, JsonValue]


class Evaluations:
    """The evaluations of the collection whose folder is `collection_dir`, in `evaluations/`.

    Needs no lease: an index can be evaluated while something else is written to the lake.
    """

    def __init__(self, collection_dir: Place) -> None:
        self._folder = collection_dir / FOLDER

    def append(self, evaluation: Evaluation) -> Place:
        """The file of the evaluation, durable. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        path = self._folder / f"{evaluation.run}.json"
        write_bytes_atomically(json.dumps(asdict(evaluation), ensure_ascii=False, indent=1).encode(), path)
        return path

    def newest(self, limit: int | None = None) -> list[Evaluation]:
        """The last `limit` evaluations, newest first; one that cannot be read is left out (see `unreadable`)."""
        found: list[Evaluation] = []
        for path in self._paths():
            if limit is not None and len(found) >= limit:
                break
            evaluation = _parsed(path)
            if evaluation is not None:
                found.append(evaluation)
        return found

    def unreadable(self) -> list[Place]:
        """Evaluations that are damaged. Nothing depends on them; they can be deleted."""
        return [path for path in self._paths() if _parsed(path) is None]

    def _paths(self) -> list[Place]:
        return sorted(self._folder.glob("*.json"), reverse=True) if self._folder.is_dir() else []


def _parsed(path: Place) -> Evaluation | None:
    try:
        found = json.loads(path.read_bytes())
        run, result = found["run"], found["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Evaluation(run, result) if isinstance(run, str) and isinstance(result, dict) else None
