"""Slips: what a reading process on another machine has to say of a part, left beside it until the run has taken it.

So that nothing but names crosses between machines. Each is read once and deleted; those that an interrupted run has
left belong to jobs that nobody asks for any more.

What the reading processes of a run leave for each other: files beside the chunk parts, gone when the run is.

They have the names of temporary files, so what a killed run leaves is swept up with those. Nothing needs them to last.
"""

import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.collection.chunk_parts import PartName
from millrace.tasks.lake.storage.atomic import make_folder, remove_files, translate_os_errors, write_bytes_atomically
from millrace.tasks.lake.storage.location import LakePath, local_folder
from millrace.tasks.records import MANIFEST_SCHEMA, REJECT_SCHEMA


class ScratchFiles:
    """The spool in `folder`. Needs no lease: each file is of the process that makes it until its path is told."""

    def __init__(self, folder: LakePath) -> None:
        self._folder = local_folder(folder)

    def put(self, data: bytes) -> Path:
        """The path of a new file with `data`. Raises `LakeError` when the disk is full, read-only or failing."""
        make_folder(self._folder)
        with (
            translate_os_errors(self._folder, "Writing to"),
            tempfile.NamedTemporaryFile(prefix=".spool-", suffix=".tmp", dir=self._folder, delete=False) as sink,
        ):
            sink.write(data)
        return Path(sink.name)

    def take(self, path: Path) -> bytes:
        """What was put there. Raises `LakeError` when it cannot be read."""
        with translate_os_errors(path, "Reading"):
            return path.read_bytes()

    def discard(self, paths: Iterable[Path]) -> None:
        """Delete the files, those that are there."""
        for path in paths:
            with translate_os_errors(path, "Deleting"):
                path.unlink(missing_ok=True)


FOLDER = "slips"
_NAME = re.compile(r"(\d{6,})-(\d{3,})\.json")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The documents that end in a part (`MANIFEST_SCHEMA`), its rejects (`REJECT_SCHEMA`), and numbers by name."""

    documents: pa.Table
    rejects: pa.Table
    counts: Mapping[str, int]


class Sidecars:
    """The slips in `folder`. Needs no lease for writing: those of a job are written by who reads it."""

    def __init__(self, folder: LakePath) -> None:
        self._folder = folder

    def put(self, part: PartName, slip: Sidecar) -> None:
        """Leave the slip of a part that is written. Raises LakeError."""
        make_folder(self._folder)
        told = {
            "documents": slip.documents.to_pylist(),
            "rejects": slip.rejects.to_pylist(),
            "counts": dict(slip.counts),
        }
        write_bytes_atomically(json.dumps(told, ensure_ascii=False).encode(), self._path(part))

    def take(self, part: PartName) -> Sidecar:
        """The slip of a part; it is deleted.

        Raises:
            LakeError: It is not there, or damaged.
        """
        path = self._path(part)
        try:
            told = json.loads(path.read_bytes())
            slip = Sidecar(
                pa.Table.from_pylist(told["documents"], schema=MANIFEST_SCHEMA),
                pa.Table.from_pylist(told["rejects"], schema=REJECT_SCHEMA),
                {str(name): int(number) for name, number in told["counts"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise LakeError(
                f"{path} cannot be read ({type(error).__name__}): do all reading machines reach the same lake? Run the"
                " same command again; it reads those files anew."
            ) from error
        remove_files([path])
        return slip

    def clear(self, *, below: int) -> None:
        """Delete the slips of jobs before `below`, left by runs that were killed. Raises LakeError."""
        if self._folder.is_dir():
            names = [path.name for path in self._folder.iterdir()]
            old = [name for name in names if (found := _NAME.fullmatch(name)) and int(found[1]) < below]
            remove_files([self._folder / name for name in old])

    def _path(self, part: PartName) -> LakePath:
        return self._folder / f"{part.job:06d}-{part.number:03d}.json"
