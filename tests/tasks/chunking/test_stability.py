"""An edit makes few new texts, wherever it is and whatever the text is like."""

import random
from collections.abc import Callable

import pytest

from millrace.tasks.chunking import ChunkOptions, Tokenizer, split
from millrace.tasks.records import Heading
from tests.tasks.chunking.prose import chinese_novel, english_prose

_OPTIONS = ChunkOptions()
_TEXTS = {
    "english": lambda: english_prose(500, seed=1),
    "chinese": lambda: chinese_novel(900, seed=2),
    "one line": lambda: " ".join(english_prose(300, seed=3).split()),
    "no punctuation": lambda: "\n".join(" ".join(english_prose(300, seed=4).translate({46: "", 63: "", 33: ""}).split("\n\n")).split("\n")),
    "log": lambda: "".join(f"2026-11-21 10:{i // 60 % 60:02}:{i % 60:02} worker {i % 7} done in {i * 37 % 211} ms\n" for i in range(6_000)),
    "table": lambda: "| name | value |\n|---|---|\n" + "".join(f"| row {i} | {i * i % 977} |\n" for i in range(5_000)),
}  # fmt: skip
_LINE = {"chinese": "这一行是后来才补上的，说明了一个先前没有提到的情况。"}


def _texts(text: str, tokenizer: Tokenizer, headings: list[Heading] | None = None) -> set[str]:
    return {text[s.start : s.end] for s in split(text, headings or [], tokenizer, _OPTIONS)}


def _insert(text: str, place: int, line: str) -> str:
    return text[:place] + line + text[place:]


def _delete(text: str, place: int, line: str) -> str:
    end = text.find("\n", place)
    return text[:place] + text[end + 1 if end >= 0 else place + 60 :]


def _change(text: str, place: int, line: str) -> str:
    return text[:place] + "else" + text[place + 4 :]


@pytest.mark.parametrize("edit", [_insert, _delete, _change])
@pytest.mark.parametrize("name", _TEXTS)
def test_an_edit_makes_at_most_three_new_texts_nearly_always(
    tokenizer: Tokenizer, name: str, edit: Callable[[str, int, str], str]
) -> None:
    text = _TEXTS[name]()
    before = _texts(text, tokenizer)
    line = _LINE.get(name, "A line that was put in later, of no great length.") + ("\n" if "\n" in text else " ")
    chance = random.Random(name)
    separator = "\n" if "\n" in text else " "
    places = [text.find(separator, chance.randrange(len(text) * 9 // 10)) + 1 for _ in range(24)]
    new = sorted(len(_texts(edit(text, place, line), tokenizer) - before) for place in places)
    assert new[len(new) // 2] <= 2
    assert new[len(new) * 95 // 100 - 1] <= 3


def test_an_edit_in_one_section_leaves_the_others_alone(tokenizer: Tokenizer) -> None:
    bodies = [english_prose(12, seed=seed) for seed in range(10)]

    def build(changed: str) -> tuple[str, list[Heading]]:
        text, headings = "", []
        for number, body in enumerate(bodies):
            headings.append(Heading(1, f"Part {number}", len(text)))
            text += f"# Part {number}\n\n{changed if number == 4 else body}\n"
        return text, headings

    text, headings = build(bodies[4])
    edited, moved = build(english_prose(15, seed=99))
    new = _texts(edited, tokenizer, moved) - _texts(text, tokenizer, headings)
    section = edited[moved[4].start : moved[5].start]
    assert new
    assert all(content in section for content in new)


def test_a_line_among_equal_lines_makes_no_more_than_three_new_texts(tokenizer: Tokenizer) -> None:
    text = "INFO all is well, nothing happened\n" * 5_000
    before = _texts(text, tokenizer)
    assert len(before) <= 3
    edited = _insert(text, len("INFO all is well, nothing happened\n") * 700, "WARN something did\n")
    assert len(_texts(edited, tokenizer) - before) <= 3


def test_long_prose_fills_its_chunks(tokenizer: Tokenizer) -> None:
    for text in (english_prose(500, seed=5), chinese_novel(900, seed=6)):
        tokens = [span.tokens for span in split(text, [], tokenizer, _OPTIONS)]
        assert sum(tokens) / len(tokens) >= 0.65 * _OPTIONS.max_tokens
