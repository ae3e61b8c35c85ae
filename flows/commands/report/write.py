"""`millrace report`: the page of a run, written into the lake or to a file of one's choice."""

import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from millrace.configs.settings import Settings
from millrace.flows.commands.report.facts import RunFacts, gather
from millrace.flows.commands.report.page import page_of
from millrace.flows.monitoring.result import Result
from millrace.flows.wiring.components import existing_lake
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import LakePath


@dataclass(frozen=True, slots=True)
class WrittenReport(Result):
    """The page of a run: what it was made of, and where it is."""

    facts: RunFacts
    path: LakePath

    @property
    def run(self) -> str:
        """Its id."""
        return self.facts.record.id

    def as_json(self) -> dict[str, object]:
        """Plain values, as `report --json` prints."""
        return {"run": self.run, "state": self.facts.state, "path": str(self.path)}

    def lines(self) -> list[str]:
        """The path alone, so that it can be handed to another program."""
        return [str(self.path)]


def write_report(settings: Settings, run: str = "", *, out: Path | None = None) -> WrittenReport:
    """Write the page of `run` (an id, or enough of its beginning), or of the newest, to `out` or into the lake.

    Raises:
        ConfigurationError: There is no such run or no lake, or `out` cannot be written.
        LakeError: The lake cannot be written, or is of a newer version.
    """
    facts = gather(settings, run)
    page = page_of(facts)
    if out is None:
        return WrittenReport(facts, existing_lake(settings).reports.save(facts.record.id, page).absolute())
    path = out.absolute()
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--out {path} cannot be written: {error.strerror}") from error
    return WrittenReport(facts, path)


def show(written: WrittenReport) -> None:
    """Open the page in a browser; without one, say so."""
    if not isinstance(written.path, Path):
        print("a browser does not open what is in a bucket; use --out FILE", file=sys.stderr)  # noqa: T201
    elif not webbrowser.open(written.path.as_uri()):
        print("there is no browser to open it with", file=sys.stderr)  # noqa: T201 - the terminal is this command's
