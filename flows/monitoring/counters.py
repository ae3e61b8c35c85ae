"""What a run counts while it goes on: for its report, and for what is shown of it meanwhile."""

import pyarrow.compute as pc

from millrace.flows.monitoring.progress import Progress
from millrace.flows.monitoring.run_summary import ChunkCounts, DocumentCounts, LeftCounts, RunSummary
from millrace.tasks.embedding import Usage
from millrace.tasks.stages.embed import Embedded
from millrace.tasks.stages.load import Loaded
from millrace.tasks.stages.part_writer import Part
from millrace.tasks.stages.scan import Scan


def count_kept(found: Scan, documents: DocumentCounts, chunks: ChunkCounts) -> None:
    """Count the documents that stay as they are, and their chunks."""
    rejected = pc.sum(pc.equal(found.kept["status"], "rejected")).as_py() or 0
    documents.seen += found.kept.num_rows
    documents.rejected += rejected
    documents.unchanged += found.kept.num_rows - rejected
    rows = pc.sum(found.kept["chunks"]).as_py() or 0
    chunks.unchanged += rows
    chunks.total += rows


class RunCounts:
    """The counts of one run."""

    def __init__(self, report: RunSummary, progress: Progress) -> None:
        self._report = report
        self._progress = progress
        self._files_in: dict[int, int] = {}  # by job

    def compared(self, found: Scan) -> None:
        """Count what stays as it is, and the files that are to be read."""
        count_kept(found, self._report.documents, self._report.chunks)
        self._progress.files = sum(len(job) for job in found.jobs)
        self.left()

    def loaded(self, part: Part, embedded: Embedded, loaded: Loaded) -> None:
        """Count a part that is in."""
        documents, chunks = self._report.documents, self._report.chunks
        documents.added += loaded.added
        documents.changed += loaded.changed
        documents.unchanged += loaded.unchanged
        documents.rejected += loaded.rejected
        documents.seen += part.documents.num_rows
        chunks.total += part.chunks
        taken = part.chunks - loaded.rejected_chunks
        chunks.rejected += loaded.rejected_chunks
        chunks.embedded += min(embedded.bought, taken)
        chunks.reused += taken - min(embedded.bought, taken)
        chunks.upserted += loaded.upserted
        chunks.deleted += loaded.deleted
        self._progress.chunks_loaded += part.chunks
        self._progress.documents += part.documents.num_rows
        self._files_in[part.job] = part.files_done

    def billed(self, tally: Usage) -> None:
        """Put the bill into the report as it is by now."""
        report = self._report
        report.requests.sent = tally.requests_sent
        report.requests.throttled = tally.requests_throttled
        report.requests.retried = tally.requests_retried
        report.tokens.counted = tally.tokens_counted
        report.tokens.billed = tally.tokens_billed
        report.tokens.drift = round(tally.drift, 6)
        report.cost_cny = tally.cost_cny

    def left(self) -> None:
        """Put what is not in yet into the report."""
        progress = self._progress
        files = progress.files - sum(self._files_in.values())
        self._report.left = LeftCounts(files=files, chunks=progress.chunks_cut - progress.chunks_loaded)
