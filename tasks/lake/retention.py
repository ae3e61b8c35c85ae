"""What of a lake nothing depends on any more: files of old runs, slips of dead workers, vectors that no chunk uses.

Here it is found; `flows.commands.prune` decides and removes. Whoever removes holds the lake's lease.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.tasks.errors import ExitCode
from millrace.tasks.lake.lake import Lake
from millrace.tasks.lake.storage.location import LakePath, names_in
from millrace.tasks.lake.vectors.schema import KeyBytes, keys_in
from millrace.tasks.records import TEXT_KEY_BYTES

Keys = npt.NDArray[np.bytes_]
"""Text keys, each as one value of 32 bytes, sorted and unique."""

_FINISHED = frozenset({ExitCode.DONE, ExitCode.REJECTS})
_OF_A_RUN = ("runs", "timelines", "reports")


def collections_of(lake: Lake) -> list[str]:
    """The names of all collections that the lake knows, in order."""
    folders = (path for path in lake.path.iterdir() if path.is_dir())
    return sorted(path.name for path in folders if (path / "chunks").is_dir() or (path / "runs").is_dir())


def old_run_files(lake: Lake, before: datetime, *, keep: int) -> dict[str, list[LakePath]]:
    """Records, timelines and pages of runs of the collection that began before that moment, by folder.

    Not those of the newest `keep` runs, nor those of the last run of each command that finished: by them it is known
    when a run succeeded last, and what a collection of an earlier version was made with.
    """
    stems = {folder: _stems(lake.collection_dir / folder) for folder in _OF_A_RUN}
    runs = sorted(stem for stem in stems["runs"] if _has_time(stem))
    kept = set(runs[len(runs) - keep :] if keep else ())
    finished: set[str] = set()
    for record in lake.runs.newest_first():
        if record.exit in _FINISHED and record.command not in finished:
            finished.add(record.command)
            kept.add(record.id)
    old = f"{before.astimezone(UTC):%Y%m%dT%H%M%S}"  # as an id begins: see `new_run_id`
    return {
        folder: [
            lake.collection_dir / folder / name
            for stem, name in sorted(names.items())
            if stem not in kept and _has_time(stem) and stem < old
        ]
        for folder, names in stems.items()
    }


def slips(lake: Lake) -> list[LakePath]:
    """Sidecars of parts: while nobody else writes to the lake, they are of workers that are dead."""
    return [lake.sidecars_dir / name for name in sorted(names_in(lake.sidecars_dir)) if name.endswith(".json")]


def used_keys(lakes: Iterable[Lake]) -> tuple[Keys, frozenset[str] | None]:
    """The text keys of all chunks of these collections, and the names of the spaces of their documents.

    All rows of a part that no document owns count as chunks: an interrupted run has left it, and the next one may go on
    from there. Then there is None for the spaces: which it is for is not known. Memory: 32 bytes a chunk.

    Raises LakeError when a part is damaged.
    """
    found: list[Keys] = [np.empty(0, "S32")]
    spaces: set[str] | None = set()
    for lake in lakes:
        manifest = lake.manifest.read()
        owners = _owners(manifest)
        parts = lake.chunks.all()
        for job, number in parts:
            sources = owners.get((job, number))
            column = lake.chunks.read(job, number, number, columns=["text_key"], sources=sources)["text_key"]
            found += [np.unique(_keys(chunk)) for chunk in _key_bytes(column)]
        if spaces is not None:
            left = any(tuple(part) not in owners for part in parts)
            spaces = None if left else spaces.union(manifest["space"].to_pylist())
    return np.unique(np.concatenate(found)), None if spaces is None else frozenset(spaces)


def _owners(manifest: pa.Table) -> dict[tuple[int, int], list[str]]:
    """By job and number of a part: the documents with rows in it."""
    owners: dict[tuple[int, int], list[str]] = {}
    rows = manifest.select(["source", "job", "part_first", "part_last", "chunks"]).to_pylist()
    for row in rows:
        for number in range(row["part_first"], row["part_last"] + 1) if row["chunks"] else ():
            owners.setdefault((row["job"], number), []).append(row["source"])
    return owners


def is_used(keys: KeyBytes, used: Keys) -> npt.NDArray[np.bool_]:
    """Which of the keys are among the used ones."""
    positions = np.searchsorted(used, own := _keys(keys))
    inside = positions < len(used)
    found = np.zeros(len(own), np.bool_)
    found[inside] = used[positions[inside]] == own[inside]
    return found


def _keys(keys: KeyBytes) -> Keys:
    """All are 32 bytes long, so that the zeros which numpy drops at the end of one make no two of them equal."""
    return np.ascontiguousarray(keys).view(f"S{TEXT_KEY_BYTES}").reshape(-1)


def _key_bytes(column: pa.ChunkedArray) -> Iterator[KeyBytes]:
    for chunk in column.chunks:
        if len(chunk):
            yield keys_in(chunk)


def _stems(folder: LakePath) -> dict[str, str]:
    """By the id of the run: the name of its file."""
    names = (name for name in names_in(folder) if name.endswith((".json", ".html")) and not name.startswith("."))
    return {name.rpartition(".")[0]: name for name in names}


def _has_time(stem: str) -> bool:
    """Whether it begins as the ids of runs do: other files are not ours to remove."""
    return len(stem) > len("20261120T141530") and stem[:8].isdigit() and stem[8] == "T" and stem[9:15].isdigit()
