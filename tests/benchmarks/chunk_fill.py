"""How full chunks are and how many texts an edit makes, with sections that share chunks and with sections apart.

`MILLRACE_BENCH_CORPUS` names a folder of Markdown and text files to take in place of made-up prose. Edits are made in
documents of at least `EDITED_CHUNKS` full chunks: a line inserted, a line deleted and a word changed anywhere, in turn.
"""

import os
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from millrace.tasks.chunking import ChunkOptions, Tokenizer, split
from millrace.tasks.documents.formats import Extraction
from millrace.tasks.documents.markup import read_markdown, read_text
from millrace.tasks.records import Heading
from tests.benchmarks.row import Row
from tests.tasks.chunking.prose import chinese_novel, english_prose

EDITED_CHUNKS, EDITS = 5, 400
PACK, APART = ChunkOptions(sections="pack"), ChunkOptions(sections="apart")


@dataclass(frozen=True)
class Cut:
    """Chunks of some documents: rows, those of a cut at every 512 tokens, and shares of the bound, all and long ones."""

    rows: int
    rows_at_bound: int
    fill: float
    fill_of_long: float
    new_texts: list[int]

    def __str__(self) -> str:
        new = sorted(self.new_texts)
        return (
            f"{self.rows:,} rows, {self.fill:.2f} full, {self.fill_of_long:.2f} in long documents; new texts an edit "
            f"{statistics.median(new):.0f} (median), {new[len(new) * 95 // 100]} (95 %), {new[-1]} (most)"
        )


def measure() -> list[Row]:
    """A row for the documents as they are, and one for the same without their headings."""
    documents = _documents()
    plain = [read_text(document.text) for document in documents]
    return [
        _row(name, chosen)
        for name, chosen in (("with headings", documents), ("without headings", plain))
        if name == "without headings" or any(document.headings for document in documents)
    ]


def _row(name: str, documents: Sequence[Extraction]) -> Row:
    packed, apart = _cut(documents, PACK), _cut(documents, APART)
    return Row(
        f"{len(documents)} documents {name}, sections packed, beside apart",
        ">= 0.80 full, <= 2 and <= 4 new texts",
        str(packed),
        str(apart),
        f"{packed.rows / apart.rows:.2f} of the rows; {packed.rows / packed.rows_at_bound:.2f} of those at every 512 "
        "tokens",
    )


def _documents() -> list[Extraction]:
    if not (given := os.environ.get("MILLRACE_BENCH_CORPUS")):
        texts = [make(300, seed=seed) for make in (english_prose, chinese_novel) for seed in range(4)]
        return [read_text(text) for text in texts]
    files = sorted(path for path in Path(given).rglob("*") if path.suffix in {".md", ".txt"})
    return [(read_markdown if f.suffix == ".md" else read_text)(f.read_text(encoding="utf-8")) for f in files]


def _cut(documents: Sequence[Extraction], options: ChunkOptions) -> Cut:
    tokenizer, shares, long_shares, rows_at_bound, long = Tokenizer.load(), [], [], 0, []
    for document in documents:
        spans = list(split(document.text, document.headings, tokenizer, options))
        sizes = [len(document.text[span.start : span.end].encode()) for span in spans]
        pairs = zip(spans, sizes, strict=True)
        filled = [max(span.tokens / options.max_tokens, size / options.max_bytes) for span, size in pairs]
        shares += filled
        rows_at_bound += -(-tokenizer.count(document.text) // options.max_tokens)
        if sum(filled) >= EDITED_CHUNKS:
            long_shares += filled
            long.append(document)
    chance = random.Random(1)
    new = [_new_texts(chance.choice(long), number, chance, options) for number in range(EDITS)] if long else [0]
    return Cut(len(shares), rows_at_bound, statistics.mean(shares), statistics.mean(long_shares or shares), new)


def _new_texts(document: Extraction, number: int, chance: random.Random, options: ChunkOptions) -> int:
    """How many texts one edit makes that were none before."""
    text, lines = document.text, document.text.splitlines(keepends=True)
    at = chance.randrange(len(lines))
    start = sum(map(len, lines[:at]))
    within = start + chance.randrange(len(lines[at]))
    start, end, new = [
        (start, start, f"Line {number}, which was put in later, of no great length.\n"),
        (start, start + len(lines[at]), ""),
        (within, min(within + 4, len(text)), "else"),
    ][number % 3]
    shift = len(new) - (end - start)
    headings = [
        heading if heading.start < start else Heading(heading.level, heading.title, heading.start + shift)
        for heading in document.headings
        if not start <= heading.start < end
    ]
    edited = text[:start] + new + text[end:]
    return len(_texts(edited, headings, options) - _texts(text, document.headings, options))


def _texts(text: str, headings: Sequence[Heading], options: ChunkOptions) -> set[str]:
    return {text[span.start : span.end] for span in split(text, headings, Tokenizer.load(), options)}
