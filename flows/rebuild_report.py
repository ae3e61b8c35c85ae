"""What a rebuild has brought back, as one object, as JSON and as lines for people."""

from dataclasses import asdict, dataclass, field

_NAMED = 20


@dataclass(slots=True)
class RebuildReport:
    """What was brought back, by upserts or by import.

    `lacking` says, for each row that was not, its document and why; `notes` why rows were not imported.
    """

    lake_collection: str
    collection: str
    uri: str
    documents: int = 0
    rows: int = 0
    upserted: int = 0
    imported: int = 0
    deleted: int = 0
    lacking: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    @property
    def brought(self) -> int:
        """Rows that are in now, either way."""
        return self.upserted + self.imported

    @property
    def exit_code(self) -> int:
        """0 when every row is in and no other, 3 when some could not be brought back, 1 when others stay."""
        return 1 if self.error else 3 if self.lacking else 0

    def as_json(self) -> dict[str, object]:
        """Plain values, as `rebuild --json` prints."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The report for people; of what is lacking, the first."""
        rate = self.brought / self.seconds if self.seconds else 0
        lines = [
            f"collection {self.collection} at {self.uri}: {self.documents:,} documents; "
            f"{self.brought:,} of {self.rows:,} rows {'imported' if self.imported else 'upserted'}, "
            f"{self.deleted:,} deleted; "
            f"{self.seconds:.1f} s, {rate:,.0f} rows/s; nothing was bought"
        ]
        if self.lacking:
            lines.append(f"lacking    {len(self.lacking):,}; `millrace verify --repair` brings them back")
            lines += [f"    {one['source']}  {one['item']}: {one['why']}" for one in self.lacking[:_NAMED]]
        if len(self.lacking) > _NAMED:
            lines.append(f"    and {len(self.lacking) - _NAMED:,} more; --json lists all")
        return lines + [f"note       {note}" for note in self.notes]
