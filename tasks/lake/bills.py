"""What runs were billed, one file a run and model, and the sums over all of them.

The sums of all files but the newest are kept in a file of their own, so that to ask for them costs the same after
10,000 runs as after 100. They count as long as each file that they are of is as it was; else all files are read again.

Old files can be folded into one a model. What is being folded is written down first, with the names of the files, so
that a reader, and whoever goes on after a kill, counts each exactly once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.history import RunFiles, RunUsage, stem_of, usage_by_model
from millrace.tasks.lake.storage.atomic import Damage, remove_files
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.location import LakePath, versions_in

SUMS_FILE, FOLDING_FILE = "bills-sums.json", "bills-folding.json"

_FOLDED = "00000000T000000.000Z-folded"
"""Stands for the run in a file that others were folded into: it sorts before all of them."""

_WORTH_SUMMING = 50


class Bills(RunFiles[RunUsage]):
    """The files in the folder `bills` of the lake at `lake`."""

    def __init__(self, lake: LakePath) -> None:
        folder = lake / "bills"
        super().__init__(folder, RunUsage, consequence="What that run cost is missing from the sums.")
        self._sums = lake / SUMS_FILE
        self._folding = lake / FOLDING_FILE

    def by_model(self) -> list[RunUsage]:
        """One sum a model, over all runs and collections, in the order of the models' names."""
        folding = _content(self._folding)
        versions = versions_in(self._folder)
        known, sums = self._known_sums(versions) if not folding else ({}, [])
        hidden = {*known, *folding.get("files", ()), *map(self._name, _usages(folding))}
        rest = [usage for name in sorted(versions.keys() - hidden) for usage in self._readable(self._folder / name)]
        return usage_by_model([*sums, *_usages(folding), *rest])

    def damaged(self, newest: int | None = None) -> list[Damage]:
        """As `RunFiles.damaged`; with `newest` those that are in the sums are not read again."""
        known, _ = self._known_sums(versions_in(self._folder)) if newest else ({}, [])
        names = [name for name in self._names() if name not in known]
        return [damage for name in names for damage in self._problem(self._folder / name)]

    def sum_up(self) -> None:
        """Keep the sums of all files that can be read, where that is worth the while. Raises LakeError."""
        versions = versions_in(self._folder)
        known, sums = self._known_sums(versions)
        new = {name: list(self._readable(self._folder / name)) for name in sorted(versions.keys() - known.keys())}
        if len(new) < _WORTH_SUMMING or self._folding.exists():
            return
        read = {name: versions[name] for name, usages in new.items() if usages}
        total = usage_by_model([*sums, *(usage for usages in new.values() for usage in usages)])
        write_json(self._sums, {"files": {**known, **read}, "sums": [asdict(usage) for usage in total]}, indent=None)

    def old_files(self, before: datetime) -> list[LakePath]:
        """The files that were last written before that moment, but not those that others were folded into."""
        paths = [self._folder / name for name in self._names()]
        found = ((path, next(self._readable(path), None)) for path in paths)
        return [path for path, usage in found if usage is not None and usage.run != _FOLDED and _is_old(usage, before)]

    def fold(self, files: Iterable[LakePath]) -> int:
        """Fold these files into one a model; how many there were. The sums stay what they are.

        Goes on first with what a killed process has left. For the holder of the lake's lease. Raises LakeError.
        """
        self._finish_folding()
        names = {path.name for path in files}
        if not names:
            return 0
        folded = [name for name in self._names() if name.startswith(f"{_FOLDED}.")]
        usages = [usage for name in (*folded, *names) for usage in self._readable(self._folder / name)]
        into = [replace(total, run=_FOLDED) for total in usage_by_model(usages)]
        write_json(self._folding, {"files": sorted(names), "usages": [asdict(usage) for usage in into]})
        self._finish_folding()
        return len(names)

    def _finish_folding(self) -> None:
        folding = _content(self._folding)
        if not folding:
            return
        for usage in _usages(folding):
            self.save(usage)
        targets = set(map(self._name, _usages(folding)))
        remove_files([self._folder / name for name in folding["files"] if name not in targets])
        remove_files([self._sums, self._folding])

    @staticmethod
    def _name(usage: RunUsage) -> str:
        return f"{stem_of(usage)}.json"

    def _known_sums(self, versions: Mapping[str, str]) -> tuple[dict[str, str], list[RunUsage]]:
        """Which files the kept sums are of, and those; none of either if one of the files is not as it was."""
        content = _content(self._sums)
        files = content.get("files", {})
        if not files or not files.items() <= versions.items():
            return {}, []
        return files, [RunUsage(**values) for values in content["sums"]]


def _content(path: LakePath) -> dict[str, Any]:
    """What the file holds; nothing where it is not there, or damaged. Raises LakeUnreachable."""
    try:
        return read_json(path)
    except LakeUnreachable:
        raise
    except (FileNotFoundError, LakeError):
        return {}


def _usages(content: Mapping[str, Any]) -> list[RunUsage]:
    return [RunUsage(**values) for values in content.get("usages", ())]


def _is_old(usage: RunUsage, before: datetime) -> bool:
    try:
        return datetime.fromisoformat(usage.updated) < before
    except (ValueError, TypeError):  # written by hand, or of another time zone than none
        return False
