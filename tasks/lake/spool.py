"""What the reading processes of a run leave for each other: files beside the chunk parts, gone when the run is.

They have the names of temporary files, so what a killed run leaves is swept up with those. Nothing needs them to last.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tasks.lake.places import Place, local_folder
from tasks.lake.writing import disk_errors, make_folder


class Spool:
    """The spool in `folder`. Needs no lease: each file is of the process that makes it until its path is told."""

    def __init__(self, folder: Place) -> None:
        self._folder = local_folder(folder)

    def put(self, data: bytes) -> Path:
        """The path of a new file with `data`. Raises `LakeError` when the disk is full, read-only or failing."""
        make_folder(self._folder)
        with (
            disk_errors(self._folder, "Writing to"),
            tempfile.NamedTemporaryFile(prefix=".spool-", suffix=".tmp", dir=self._folder, delete=False) as sink,
        ):
            sink.write(data)
        return Path(sink.name)

    def take(self, path: Path) -> bytes:
        """What was put there. Raises `LakeError` when it cannot be read."""
        with disk_errors(path, "Reading"):
            return path.read_bytes()

    def discard(self, paths: Iterable[Path]) -> None:
        """Delete the files, those that are there."""
        for path in paths:
            with disk_errors(path, "Deleting"):
                path.unlink(missing_ok=True)
