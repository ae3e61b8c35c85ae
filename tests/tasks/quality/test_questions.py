import pytest

from millrace.tasks.errors import ConfigurationError
from millrace.tasks.quality.questions import Question, found_sources, is_source, parse_questions


def test_questions_have_sources_and_perhaps_relevance() -> None:
    lines = [
        '{"question": "Where is the key?", "sources": ["keys.md"]}',
        "",
        '{"question": "水位多少", "sources": ["a.md", "b.pdf"], "relevance": [2, 0.5], "author": "me"}',
    ]
    assert parse_questions(lines, origin="q.jsonl") == [
        Question("Where is the key?", ("keys.md",), (1.0,), 1),
        Question("水位多少", ("a.md", "b.pdf"), (2.0, 0.5), 3),
    ]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('{"question": "x", "sources": ["a"]', "not JSON"),
        ("[1]", "expected an object"),
        ('{"question": " ", "sources": ["a"]}', "not blank"),
        ('{"query": "x", "sources": ["a"]}', "it is missing (found 'query')"),
        ('{"question": "x"}', '"sources" must be a list of at least one name; it is missing'),
        ('{"question": "x", "sources": []}', "found []"),
        ('{"question": "x", "sources": "a.md"}', "found 'a.md'"),
        ('{"question": "x", "sources": ["a", "a"]}', "names one twice"),
        ('{"question": "x", "sources": ["a"], "relevance": [1, 2]}', "a list of 1 numbers"),
        ('{"question": "x", "sources": ["a"], "relevance": [0]}', "above 0"),
        ('{"question": "x", "sources": ["a"], "relevance": [true]}', "above 0"),
    ],
)
def test_a_bad_line_is_told_by_its_number_and_what_is_wrong(line: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError) as output:
        parse_questions(['{"question": "x", "sources": ["a"]}', line], origin="q.jsonl")
    assert "q.jsonl: line 2: " in str(output.value)
    assert wrong in str(output.value)


def test_many_bad_lines_are_counted() -> None:
    with pytest.raises(ConfigurationError, match=r"line 5: .*; and 3 more"):
        parse_questions(["{}"] * 8, origin="q.jsonl")


def test_a_file_without_questions_says_what_a_line_looks_like() -> None:
    with pytest.raises(ConfigurationError, match='"sources"'):
        parse_questions(["", " "], origin="q.jsonl")


@pytest.mark.parametrize(
    ("expected", "source", "same"),
    [
        ("a.md", "/srv/docs/a.md", True),
        ("docs/a.md", "/srv/docs/a.md", True),
        ("./docs/a.md", "docs/a.md", True),
        ("docs\\a.md", "/srv/docs/a.md", True),
        ("/srv/docs/a.md", "/srv/docs/a.md", True),
        ("/srv/docs/a.md", "docs/a.md", True),
        ("/srv/docs/a.md", "/other/docs/a.md", False),
        ("a.md", "/srv/docs/ba.md", False),
        ("ocs/a.md", "/srv/docs/a.md", False),
        ("log.jsonl", "/srv/log.jsonl#7", True),
        ("log.jsonl#7", "/srv/log.jsonl#7", True),
        ("log.jsonl#7", "/srv/log.jsonl#17", False),
        ("c#.md", "/srv/c#.md", True),
    ],
)
def test_a_source_is_meant_by_its_name_or_the_end_of_its_path(expected: str, source: str, same: bool) -> None:
    assert is_source(expected, source) is same


def test_each_hit_is_the_first_source_that_means_it() -> None:
    assert found_sources(["a.md", "b.md"], ["/x/b.md", "/x/c.md", "/x/a.md"]) == [1, None, 0]
