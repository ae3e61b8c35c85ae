"""Texts are taken as a person reads them, and unchanged where nothing in them is hidden."""

import base64
import random
from collections.abc import Callable

import pytest

from millrace.tasks.documents.markup.plain_text import readable
from millrace.tasks.records import Document, Reject

BLOB = base64.b64encode(random.Random(5).randbytes(3_000)).decode()


@pytest.mark.parametrize("name", ["run.log", "a.txt", "a.md", "a.rst"])
def test_terminal_codes_are_left_out(document: Callable[..., Document], name: str) -> None:
    log = (
        "\x1b[32m2026-01-01\x1b[0m \x1b[1;31mERROR\x1b[0m pump 7 failed\x1b]0;title\x07, \x1b(Bsee N\x08NA\x08A_\x08b\n"
    )
    assert document(name, log).text == "2026-01-01 ERROR pump 7 failed, see NAb\n"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (f"![plan](data:image/png;base64,{BLOB})\n\nThe handle", "![plan](data:image/png;base64,)\n\nThe handle"),
        (f'<img src="data:image/png;base64,{BLOB}"> after', '<img src="data:image/png;base64,"> after'),
        (f"[plan]: data:image/png;base64,{BLOB}\nNext", "[plan]: data:image/png;base64,\nNext"),
        (
            "(data:image/png;base64," + "\n".join(BLOB[i : i + 76] for i in range(0, 2_000, 76)) + ") x",
            "(data:image/png;base64," + BLOB[:76] + "\n" + BLOB[76:152],
        ),
        ("url(data:image/svg+xml,%3Csvg" + "%20" * 100 + ")", "url(data:image/svg+xml,)"),
        ("data:text/plain,short and data: a word", "data:text/plain,short and data: a word"),
    ],
    ids=["Markdown", "HTML", "reference", "short lines", "percent signs", "no blob"],
)
def test_data_that_is_embedded_in_an_address_is_left_out(written: str, left: str) -> None:
    assert readable(written).startswith(left)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Do\u00adnau\u00addampf\u200bschiff", "Donaudampfschiff"),
        ("a \u200b b\u00ad \ufeffc", "a \u200b b\u00ad \ufeffc"),
        ("ภาษา\u200bไทย", "ภาษา\u200bไทย"),
        ("می\u200cشود 👨\u200d👩", "می\u200cشود 👨\u200d👩"),
    ],
)
def test_invisible_characters_are_left_out_where_they_part_a_word(written: str, read: str) -> None:
    assert readable(written) == read


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_a_text_of_invisible_characters_is_empty(reject: Callable[..., Reject], name: str) -> None:
    assert reject(name, "\u200b\u200b\u2060\ufeff\n").reason in {"empty", "no_text"}


def test_a_row_of_invisible_characters_is_empty(read: Callable[..., list[Document | Reject]]) -> None:
    empty, row = sorted(
        read("a.jsonl", '{"id":1,"text":"\\u200b\\u2060"}\n{"id":2,"text":"x"}\n'), key=lambda r: r.source
    )
    found = {item.source: item for item in (empty, row)}
    assert isinstance(found["a.jsonl#2"], Document)
    assert sum(isinstance(item, Reject) for item in (empty, row)) == 1
