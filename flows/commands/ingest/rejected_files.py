"""Which files are rejected as a whole, of all the items that are."""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.tasks.documents import FORMATS, HOLDING
from millrace.tasks.records import suffix_of

_HOLDING = frozenset(suffix for suffix, form in FORMATS.items() if form in HOLDING)


def rejected_files(settings: Settings, rejects: pa.Table, sources: Sequence[Path] | None) -> set[str]:
    """The names of the files below `sources`, None for any, of which nothing was taken; not what lies in an archive."""
    base = components.sources_base(settings)
    roots = tuple(_name(source, base) for source in sources or ())
    whole = (row["source"] for row in rejects.select(["source", "item"]).to_pylist() if not row["item"])
    return {name for name in whole if not _lies_in_a_file(name) and (sources is None or _is_below(name, roots))}


def _name(source: Path, base: Path | None) -> str:
    path = os.path.abspath(source)  # noqa: PTH100 - as listed
    return path if base is None else os.path.relpath(path, base)


def _is_below(name: str, roots: Sequence[str]) -> bool:
    return any(root in {".", name} or name.startswith(root.rstrip("/") + "/") for root in roots)


def _lies_in_a_file(name: str) -> bool:
    """Whether the name is that of a member or record: one of its parts before a "#" is of a file that holds such.

    >>> _lies_in_a_file("docs/a.zip#b.docx"), _lies_in_a_file("docs/C#.md")
    (True, False)
    """
    parts = name.split("#")
    return any(suffix_of("#".join(parts[:end])) in _HOLDING for end in range(1, len(parts)))
