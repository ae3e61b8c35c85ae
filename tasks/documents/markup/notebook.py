"""Jupyter notebooks: Markdown cells as they are, with their headings, and code cells with what they printed.

Code stands between fences. Of what a code cell printed or returned, the text is read, up to `MAX_OUTPUT_CHARACTERS` a
cell; a line says how much more there was. Pictures and widgets are left out, and so is HTML where there is text beside
it. Source: the notebook format of Jupyter, versions 3 and 4.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from millrace.tasks.documents.formats import Extraction
from millrace.tasks.documents.markup.markdown import read_markdown
from millrace.tasks.documents.markup.plain_text import readable
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Heading

MAX_OUTPUT_CHARACTERS = 2_000
"""Enough for a result or a small table; a log of some thousand lines would bury the rest of the notebook."""


def read_notebook(text: str) -> Extraction:
    """The cells in order; the title is that of the first Markdown cell that has one.

    Raises:
        Rejected: it is no notebook.
    """
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_notebook(f"it is no JSON ({type(error).__name__}: {error})") from error
    cells = _cells(notebook)
    texts: list[str] = []
    headings: list[Heading] = []
    title, offset = "", 0
    language = _language(notebook)
    for cell in cells:
        found = _read_cell(cell, language)
        if not found.text.strip():
            continue
        title = title or found.title
        headings += [replace(heading, start=heading.start + offset) for heading in found.headings]
        texts.append(found.text)
        offset += len(found.text) + 2
    return Extraction("\n\n".join(texts), title=title, headings=tuple(headings))


def _no_notebook(why: str) -> Rejected:
    return Rejected(
        f"The file is no notebook: {why}.",
        reason="damaged",
        remedy="Open it in Jupyter and save it again, or export it as Markdown.",
    )


def _cells(notebook: Any) -> list[dict[str, Any]]:
    if isinstance(notebook, dict):
        sheets = notebook.get("worksheets")
        cells = notebook.get("cells")
        if cells is None and isinstance(sheets, list):  # version 3
            cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells", [])]
        if isinstance(cells, list):
            return [cell for cell in cells if isinstance(cell, dict)]
    raise _no_notebook("it has no cells")


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) and name.isalnum() else ""


def _read_cell(cell: dict[str, Any], language: str) -> Extraction:
    source = _text(cell.get("source", cell.get("input"))).strip("\n")
    match cell.get("cell_type"):
        case "code":
            printed = "\n".join(part for output in _outputs(cell) if (part := _output_text(output).strip("\n")))
            parts = [_fenced(source, language), _bounded(readable(printed))]
            return Extraction("\n\n".join(part for part in parts if part))
        case "heading":  # version 3
            level = cell.get("level")
            marks = "#" * level if isinstance(level, int) and 1 <= level <= 6 else "#"
            return read_markdown(f"{marks} {source}")
        case "markdown":
            return read_markdown(readable(source))
        case _:
            return Extraction(readable(source))


def _text(value: Any) -> str:
    """A text, which may be kept as a list of lines."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _fenced(code: str, language: str) -> str:
    if not code.strip():
        return ""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}{language}\n{code}\n{fence}"


def _outputs(cell: dict[str, Any]) -> Iterator[dict[str, Any]]:
    outputs = cell.get("outputs")
    yield from (output for output in (outputs if isinstance(outputs, list) else []) if isinstance(output, dict))


def _output_text(output: dict[str, Any]) -> str:
    if output.get("output_type") in {"error", "pyerr"}:
        return f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
    data = output.get("data")
    if isinstance(data, dict):
        return _text(data.get("text/plain", data.get("text/markdown")))
    return _text(output.get("text"))


def _bounded(text: str) -> str:
    if len(text) <= MAX_OUTPUT_CHARACTERS:
        return text
    more = len(text) - MAX_OUTPUT_CHARACTERS
    return f"{text[:MAX_OUTPUT_CHARACTERS]}\n[{more:,} more characters of output]"
