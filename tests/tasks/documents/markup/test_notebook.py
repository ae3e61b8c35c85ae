"""Notebooks are read cell by cell, with their headings, their code and what it printed."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from millrace.tasks.records import Document, Reject


def notebook(*cells: dict[str, Any]) -> str:
    metadata = {"language_info": {"name": "python"}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})


def markdown(*lines: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": list(lines)}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": outputs}


def test_cells_become_text_with_headings_code_and_outputs(document: Callable[..., Document]) -> None:
    found = document(
        "a.ipynb",
        notebook(
            code("import numpy"),
            markdown("# Levels\n", "\n", "Of the river."),
            code(
                "# not a heading\nlevels()",
                {"output_type": "stream", "name": "stdout", "text": ["one\n", "\x1b[31mtwo\x1b[0m\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo", "text/plain": "<Figure>"}},
                {"output_type": "execute_result", "data": {"text/html": "<b>3</b>", "text/plain": ["3"]}},
                {"output_type": "error", "ename": "ValueError", "evalue": "too low", "traceback": ["long"]},
            ),
            code(""),
            markdown("## 水位"),
            {"cell_type": "raw", "metadata": {}, "source": "As it is."},
        ),
    )
    assert found.text == (
        "```python\nimport numpy\n```\n\n# Levels\n\nOf the river.\n\n```python\n# not a heading\nlevels()\n```\n\n"
        "one\ntwo\n<Figure>\n3\nValueError: too low\n\n## 水位\n\nAs it is."
    )
    assert found.title == "Levels"
    assert [(h.level, h.title, found.text[h.start :].splitlines()[0]) for h in found.headings] == [
        (1, "Levels", "# Levels"),
        (2, "水位", "## 水位"),
    ]


def test_long_output_is_bounded_and_says_so(document: Callable[..., Document]) -> None:
    log = "step\n" * 1_000
    text = document("a.ipynb", notebook(code("run()", {"output_type": "stream", "text": log}))).text
    assert text == "```python\nrun()\n```\n\n" + log[:2_000] + "\n[2,999 more characters of output]"


def test_notebooks_of_version_3_are_read(document: Callable[..., Document]) -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Levels"]},
        {"cell_type": "code", "input": ["1 + 1"], "outputs": [{"output_type": "pyout", "text": ["2"]}]},
    ]
    found = document("a.ipynb", json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}))
    assert found.text == "## Levels\n\n```\n1 + 1\n```\n\n2"


@pytest.mark.parametrize("content", ["no JSON", "[1]", "{}", '{"cells": 1}', "[" * 100_000])
def test_what_is_no_notebook_is_a_reject(reject: Callable[..., Reject], content: str) -> None:
    assert reject("a.ipynb", content).reason == "damaged"


def test_a_notebook_with_odd_values_is_read_as_far_as_it_goes(document: Callable[..., Document]) -> None:
    odd = [None, 1, {"cell_type": "code", "source": None, "outputs": "x"}, {"source": 5}, markdown("Text.")]
    assert document("a.ipynb", json.dumps({"cells": odd, "metadata": []})).text == "Text."
