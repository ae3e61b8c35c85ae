"""What a switch has made, tried and moved, as one object, as JSON and as lines for people."""

from dataclasses import asdict, dataclass, field

from tasks.trial import ANSWERS, Trial


@dataclass(slots=True)
class SwitchReport:
    """What `alias` stood for and stands for now.

    `built` counts the rows that were made from the lake for the new collection; `lacking_documents` those that searches
    found before and the new collection has not; `earlier` the collections that the alias stood for before, the last one
    last. `problems` say why it was not moved.
    """

    alias: str
    uri: str
    collection: str
    before: str = ""
    now: str = ""
    moved: bool = False
    built: int = 0
    trial: Trial | None = None
    lacking_documents: int = 0
    dropped: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def error(self) -> str:
        """Why the alias was not moved, "" where nothing stood against it."""
        return f"{self.alias} was not moved: {'; '.join(self.problems)}" if self.problems else ""

    @property
    def exit_code(self) -> int:
        """1 when something stood against it, else 0."""
        return 1 if self.problems else 0

    def as_json(self) -> dict[str, object]:
        """Plain values, as `switch --json` prints."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report for people."""
        lines = []
        if self.built:
            lines.append(f"built      {self.built:,} rows from the lake; nothing was bought")
        lines += self._trial_lines(self.trial) if self.trial is not None else []
        if self.lacking_documents:
            lines.append(f"lacks      {self.lacking_documents:,} documents that {self.before} has")
        lines += [f"dropped    {name}; the lake still has its rows" for name in self.dropped]
        if self.moved:
            lines.append(
                f"moved      searches of {self.alias} go to {self.now}" + f", before {self.before}" * bool(self.before)
            )
        elif self.now:
            lines.append(f"           searches of {self.alias} go to {self.now}")
        if self.earlier:
            lines.append(f"kept       {', '.join(self.earlier)}: `millrace switch --back` goes back, --drop-old drops")
        if self.moved and self.now != self.collection:
            lines.append(f"           `ingest` still writes to {self.collection}: set milvus.collection to {self.now}")
        return lines + [f"note       {note}" for note in self.notes]

    def _trial_lines(self, trial: Trial) -> list[str]:
        lines = [
            f"tried      {trial.rows - trial.missing:,} of {trial.rows:,} rows are there; "
            f"{trial.found:,} of {trial.sampled:,} sampled ones are found by their own vector"
        ]
        if trial.alike is not None:
            lines.append(
                f"compared   {trial.asked_both:,} questions to both: {trial.alike:.0%} of the first {ANSWERS} "
                "passages are the same"
            )
        return lines
