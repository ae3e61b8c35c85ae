"""Running heads, feet and page numbers are left out, and nothing that does not come again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.documents.pdf.running_lines import without_running_lines


def pages(*texts: str) -> list[tuple[int, str]]:
    return list(enumerate(texts, start=1))


def texts_of(found: list[tuple[int, str]]) -> list[str]:
    return [text for _, text in found]


def test_a_head_stays_once_and_page_numbers_go() -> None:
    book = pages(*(f"The Mill Book\nbody {n} of words\nmore {n}\n{n}" for n in "abcdef"))
    numbered = [(number, f"{text.rsplit(chr(10), 1)[0]}\n- {number + 6} -") for number, text in book]
    found, left_out = without_running_lines(numbered)
    assert texts_of(found) == [
        "The Mill Book\nbody a of words\nmore a",
        *(f"body {n} of words\nmore {n}" for n in "bcdef"),
    ]
    assert left_out == 5 + 6


def test_heads_of_odd_and_even_pages_and_of_chapters_are_told_apart() -> None:
    def text(n: int) -> str:
        head = "The Mill Book" if n % 2 else f"Chapter {'one' if n < 10 else 'two'} {n}"
        return f"{head}\nbody word{chr(96 + n)}"

    found, left_out = without_running_lines(pages(*map(text, range(1, 20))))
    whole = "\n".join(texts_of(found))
    assert [whole.count(head) for head in ("The Mill Book", "Chapter one", "Chapter two")] == [1, 1, 1]
    assert left_out == 19 - 3
    assert all(f"body word{chr(96 + n)}" in whole for n in range(1, 20))


def test_roman_numbers_and_page_of_pages_are_page_numbers() -> None:
    roman = ["iii", "iv", "v", "vi", "vii"]
    found, _ = without_running_lines(pages(*(f"body {chr(97 + n)}\n{number}" for n, number in enumerate(roman))))
    assert texts_of(found) == [f"body {chr(97 + n)}" for n in range(5)]
    found, _ = without_running_lines(pages(*(f"body {chr(97 + n)}\nPage {n} of 30" for n in range(5))))
    assert texts_of(found) == ["body a\nPage 0 of 30", *(f"body {chr(97 + n)}" for n in range(1, 5))]


def test_lines_that_only_look_alike_stay() -> None:
    exercises = pages(*(f"Exercise {n}\nbody {n}" for n in (3, 7, 8, 21, 34)))
    assert without_running_lines(exercises) == (exercises, 0)
    values = pages(*(f"body {chr(97 + n)}\n{value}" for n, value in enumerate((12, 7, 40, 3, 99))))
    assert without_running_lines(values) == (values, 0)
    inside = pages(*(f"a{n}\nb{n}\nc{n}\nThe Mill Book\nd{n}\ne{n}\nf{n}" for n in "abcdef"))
    assert without_running_lines(inside) == (inside, 0)


def test_a_page_of_nothing_else_keeps_its_lines() -> None:
    numbers = pages(*(f"Sheet {n}" for n in range(9)))
    assert without_running_lines(numbers) == (numbers, 0)


def test_a_short_file_and_one_whose_line_is_far_apart_keep_everything() -> None:
    short = pages(*("The Mill Book\nbody" for _ in range(3)))
    assert without_running_lines(short) == (short, 0)
    far = pages(*("Summary\nbody" if n % 10 == 0 else f"text {chr(97 + n)}\nbody" for n in range(25)))
    assert "Summary" in texts_of(without_running_lines(far)[0])[20]


@settings(max_examples=50)
@given(st.lists(st.text(st.sampled_from("ab1 \n"), max_size=30), max_size=12))
def test_only_whole_lines_go_and_only_from_the_edges(texts: list[str]) -> None:
    found, left_out = without_running_lines(pages(*texts))
    assert [number for number, _ in found] == list(range(1, len(texts) + 1))
    for before, after in zip(texts, texts_of(found), strict=True):
        assert after in before or after == before.strip()
    lines = sum(sum(bool(line.strip()) for line in text.split("\n")) for text in texts)
    assert lines - left_out == sum(sum(bool(line.strip()) for line in text.split("\n")) for text in texts_of(found))
