"""Who is told how a run goes, beside its display and its report: nobody, or the Prefect UI."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa

from millrace.flows.monitoring.progress import Progress
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.tasks.stages.scan import Scan


@dataclass(frozen=True, slots=True)
class SourceDiffSummary:
    """What the comparison of the sources with the manifest found: files to read, and documents that are gone."""

    sources: Sequence[Path]
    new: int
    changed: int
    removed: int
    unchanged: int

    @classmethod
    def of(cls, sources: Sequence[Path], found: Scan) -> Self:
        """What is to be done after this comparison of `sources`."""
        known = set(found.previous["path"].unique().to_pylist())
        paths = [file.path for job in found.jobs for file in job]
        changed = sum(path in known for path in paths)
        return cls(
            sources=sources,
            new=len(paths) - changed,
            changed=changed,
            removed=found.removed.num_rows,
            unchanged=found.kept.num_rows,
        )

    def words(self) -> str:
        """`docs: 312 new, 4 changed`, or `docs: nothing changed`."""
        names = ", ".join(source.name or str(source) for source in self.sources[:3])
        more = f" and {len(self.sources) - 3} more" if len(self.sources) > 3 else ""
        counts = {"new": self.new, "changed": self.changed, "removed": self.removed}
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        return f"{names}{more}: {told or 'nothing changed'}"


class RunObserver(Protocol):
    """Told by a run how it goes. Nothing that a watcher does may stop the run."""

    async def compared(self, todo: SourceDiffSummary) -> None:
        """The sources were compared; work begins."""
        ...

    async def moved(self, progress: Progress) -> None:
        """A part is in."""
        ...

    async def ended(self, report: RunSummary, rejects: pa.Table) -> None:
        """The run is over, however it ended. `rejects` are those outstanding, as `REJECT_SCHEMA`."""
        ...


class NullObserver:
    """Nobody watches; implements `RunObserver`."""

    async def compared(self, todo: SourceDiffSummary) -> None:
        """As `RunObserver.compared`."""

    async def moved(self, progress: Progress) -> None:
        """As `RunObserver.moved`."""

    async def ended(self, report: RunSummary, rejects: pa.Table) -> None:
        """As `RunObserver.ended`."""
