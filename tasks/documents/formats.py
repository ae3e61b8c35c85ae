"""Which reader a file name's suffix asks for."""

from pathlib import PurePosixPath
from typing import Literal

Format = Literal["text", "markdown", "restructured", "html", "pdf", "json_lines", "csv", "tsv", "parquet"]

FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "restructured",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""The suffixes that are listed unless `sources.include` says otherwise, in lower case."""


def format_of(name: str) -> Format:
    """The format of a file of this name; what no suffix tells is text."""
    return FORMATS.get(PurePosixPath(name).suffix.lower(), "text")
