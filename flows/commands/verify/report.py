"""What `verify` found and what `--repair` did about it: as one object, as JSON and as lines for people."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from millrace.flows.monitoring.result import Result, values_of
from millrace.tasks.errors import ExitCode
from millrace.tasks.records import LeftOut

Kind = Literal[
    "missing_row",
    "altered_content",
    "altered_metadata",
    "altered_vector",
    "altered_sparse",
    "doubled_row",
    "unowned_row",
    "lacking_vector",
    "damaged_file",
    "missing_collection",
    "new_file",
    "changed_file",
    "gone_file",
    "other_settings",
]

_REPAIR = "millrace verify --repair"
_INGEST = "millrace ingest SOURCE..."
_DESCRIPTIONS: dict[Kind, tuple[str, str]] = {
    "missing_row": ("rows that are not in the collection", _REPAIR),
    "altered_content": ("rows with another content than the lake's", _REPAIR),
    "altered_metadata": ("rows with other metadata than the lake's", _REPAIR),
    "altered_vector": ("rows with another vector than the lake's", _REPAIR),
    "altered_sparse": ("rows with another sparse vector than the lake's", _REPAIR),
    "doubled_row": ("ids that several rows have", _REPAIR),
    "unowned_row": ("rows that no document owns", _REPAIR),
    "lacking_vector": ("texts whose vector the lake lacks", f"{_REPAIR} buys them"),
    "damaged_file": ("damaged files in the lake", _REPAIR),
    "missing_collection": ("collection that is not there", "millrace rebuild"),
    "new_file": ("files that were never read", _INGEST),
    "changed_file": ("files that changed since they were read", _INGEST),
    "gone_file": ("files that are gone", _INGEST),
    "other_settings": ("files that were read under other settings", f"{_INGEST} or the settings of then"),
}
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement. `item`: a row's id, a text's key or a path; `source`: the document; `detail`: what else."""

    kind: Kind
    item: str
    source: str = ""
    detail: str = ""


@dataclass(slots=True)
class Repairs:
    """What a repair did, in the order of the steps. `notes` are for people: what it left, and why."""

    files_set_aside: list[str] = field(default_factory=list)
    vectors_saved: int = 0
    documents_read_again: int = 0
    texts_embedded: int = 0
    requests: int = 0
    tokens: int = 0
    cost_cny: float = 0.0
    rows_upserted: Counter[str] = field(default_factory=Counter)
    rows_deleted: int = 0
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What was done, for people."""
        done = [f"set aside  {path}.damaged" for path in self.files_set_aside]
        if self.vectors_saved:
            done.append(f"saved      {self.vectors_saved:,} vectors of damaged parts")
        if self.documents_read_again:
            done.append(f"read again {self.documents_read_again:,} documents")
        if self.texts_embedded or self.requests:
            done.append(
                f"embedded   {self.texts_embedded:,} texts in {self.requests:,} requests, {self.tokens:,} tokens; "
                f"¥{self.cost_cny:.4f}"
            )
        if self.rows_upserted:
            faults = ", ".join(f"{count:,} {fault}" for fault, count in self.rows_upserted.most_common())
            done.append(f"upserted   {self.rows_upserted.total():,} rows: {faults}")
        if self.rows_deleted:
            done.append(f"deleted    {self.rows_deleted:,} rows that no document owned")
        return (done or ["nothing had to be repaired"]) + self.notes


@dataclass(slots=True)
class VerifyReport:
    """What a verification has found so far; `result` freezes it.

    Of each kind the first `keep` findings are kept, None for all of them.
    """

    collection: str
    keep: int | None = None
    documents: int = 0
    rows: int = 0
    rows_in_collection: int = 0
    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: list[str] = field(default_factory=list)
    repaired: Repairs | None = None
    seconds: float = 0.0

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it if there is room."""
        self.counts[finding.kind] += 1
        if self.keep is None or self.counts[finding.kind] <= self.keep:
            self.findings.append(finding)

    def result(self) -> "VerifyResult":
        """What was found."""
        values: dict[str, Any] = values_of(self)
        del values["keep"]
        return VerifyResult(**values)


@dataclass(frozen=True, slots=True)
class VerifyResult(Result):
    """What was compared and what does not agree; after a repair, what still does not.

    `left_out` counts what lies below the sources and no run reads.
    `findings` holds all of them, or of each kind the first few; `counts` counts all.
    """

    collection: str
    documents: int = 0
    rows: int = 0
    rows_in_collection: int = 0
    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: list[str] = field(default_factory=list)
    repaired: Repairs | None = None
    seconds: float = 0.0

    @property
    def agree(self) -> bool:
        """Whether sources, lake and collection say the same."""
        return not self.counts

    @property
    def exit_code(self) -> int:
        """0 only if all agree."""
        return ExitCode.DONE if self.agree else ExitCode.STOPPED

    def as_json(self) -> dict[str, object]:
        """Plain values, as `verify --json` prints."""
        return {"agree": self.agree, **Result.as_json(self)}

    def lines(self) -> list[str]:
        """The table for people: what was done, what was compared, and what does not agree, the first of each kind."""
        lines = [*self.repaired.lines(), ""] if self.repaired is not None else []
        lines.append(
            f"compared   {self.documents:,} documents and {self.rows:,} rows of the lake, "
            f"{self.rows_in_collection:,} rows of collection {self.collection}, {self.files:,} lake files"
        )
        if self.left_out.total:
            lines.append(f"left out   {self.left_out.summary()}")
        lines += [f"note       {note}" for note in self.notes]
        if self.agree:
            return [*lines, "all agree"]
        width = max(len(f"{count:,}") for count in self.counts.values())
        for kind, (what, remedy) in _DESCRIPTIONS.items():
            if not self.counts[kind]:
                continue
            lines += ["", f"{self.counts[kind]:>{width},}  {what:<42} {remedy}"]
            shown = [finding for finding in self.findings if finding.kind == kind][:_SHOWN]
            lines += [f"{'':{width}}    {_describe(finding)}" for finding in shown]
            more = self.counts[kind] - len(shown)
            if more:
                lines.append(f"{'':{width}}    and {more:,} more; --json lists all")
        return lines


SHOWN_PER_KIND = _SHOWN


def _describe(finding: Finding) -> str:
    named = "  ".join(part for part in (finding.item, finding.source) if part)
    return finding.detail if finding.detail.startswith(finding.item) else f"{named}  {finding.detail}".rstrip()
