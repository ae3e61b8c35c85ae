"""The state file: one line of JSON for each thing that happened, written before it is told to anyone.

A simulator that is killed and started with the same file again has the files, the jobs and what was billed. Uploads
lie in a folder beside it. What was merely sent, refused or throttled is forgotten.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson


class StateLog:
    """The file, or nothing when `path` is None, and the folder for uploads, made when it is asked for."""

    def __init__(self, path: str | None) -> None:
        self._path = None if path is None else Path(path)

    @cached_property
    def folder(self) -> Path:
        """Where uploads lie; a temporary folder where no state is kept."""
        if self._path is None:
            return Path(tempfile.mkdtemp(prefix="simulator-"))
        folder = self._path.with_name(self._path.name + ".files")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def events(self) -> Iterator[dict[str, Any]]:
        """What happened before the start; a last line that was cut off did not happen, and is removed."""
        if self._path is None or not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        for line in whole.splitlines():
            yield orjson.loads(line)

    def write(self, *events: Mapping[str, Any]) -> None:
        """Add events."""
        if self._path is not None and events:
            with self._path.open("ab") as file:
                file.write(b"".join(orjson.dumps(event) + b"\n" for event in events))

    def clear(self) -> None:
        """Forget everything, uploads too."""
        if "folder" in self.__dict__:
            for path in self.folder.iterdir():
                path.unlink()
        if self._path is not None:
            self._path.write_bytes(b"")

    def close(self) -> None:
        """Remove what does not outlive the simulator."""
        if self._path is None and "folder" in self.__dict__:
            shutil.rmtree(self.folder, ignore_errors=True)
