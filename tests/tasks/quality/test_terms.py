"""Sentences are verbatim, long enough to ask by, and stand in one passage only."""

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.quality.terms import distinctive_sentences, one_line, sentences, terms, without_whitespace
from tests.flows.prose import chinese, english

ENGLISH = "The spare handle hangs behind the door of the stone floor. It is cold. Nobody has ever seen the other one."
CHINESE = "水斗板用榆木，轮辋用槐木。好。木料全部在冬季砍伐，在通风的棚里阴干两年！“谁来关闸门？”他问。"


def test_sentences_end_as_they_do_in_english_and_chinese() -> None:
    assert sentences(ENGLISH)[1] == "It is cold."
    assert sentences(CHINESE) == [
        "水斗板用榆木，轮辋用槐木。",
        "好。",
        "木料全部在冬季砍伐，在通风的棚里阴干两年！",
        "“谁来关闸门？”",
        "他问。",
    ]
    assert sentences("1. Lift the gate\n2. Wait\n- and `rest`\n\n| a | b |") == [
        "Lift the gate",
        "Wait",
        "and `rest`",
        "a | b",
    ]


@settings(max_examples=200)
@given(st.text(max_size=300))
def test_every_sentence_stands_in_its_text_and_no_word_is_lost(text: str) -> None:
    found = sentences(text)
    assert all(sentence in text and sentence.strip() for sentence in found)
    words = [term.value for term in terms(text) if not term.value.isdigit()]  # the numbers of a list may go
    left = {term.value for sentence in found for term in terms(sentence)}
    assert len({word for word in words if len(word) > 2} - left) == 0


def test_a_passage_is_asked_for_by_its_most_telling_sentence() -> None:
    """Both are long enough; one has words that the other passage has too."""
    passages = [
        "The gate is opened in the morning. The spare winding handle hangs in a green box.",
        "The gate is opened in the evening by the keeper.",
    ]
    assert distinctive_sentences(passages)[0].text == "The spare winding handle hangs in a green box."


def test_a_sentence_that_stands_in_two_passages_asks_for_neither() -> None:
    shared = "The gate is opened at six in the morning."
    first, second, third = distinctive_sentences([shared, f"{shared} Then the stones are lowered one by one.", shared])
    assert (first.text, first.lack) == ("", "not_its_own")
    assert second.text == "Then the stones are lowered one by one."
    assert third.lack == "not_its_own"


def test_what_has_no_sentence_is_asked_for_by_a_line_or_by_all_of_it_or_not_at_all() -> None:
    table = "name height\nwheel three metres and sixty\ngate two"
    listed, short = distinctive_sentences([table, "Wheel 5."])
    assert listed.text.startswith("name height")
    assert (short.text, short.lack) == ("", "too_short")


def test_a_sentence_without_end_is_asked_for_by_its_beginning() -> None:
    endless, in_chinese = distinctive_sentences([" ".join(f"word{n}" for n in range(500)), "水车" * 400])
    assert endless.text.split()[-1] == "word39"
    assert in_chinese.text == "水车" * 40


@settings(max_examples=30)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_a_chosen_sentence_stands_in_its_passage_and_in_no_other(seeds: list[int]) -> None:
    passages = [english(4, seed) if seed % 2 else chinese(4, seed) for seed in seeds]
    for number, sentence in enumerate(distinctive_sentences(passages)):
        holders = [
            i for i, passage in enumerate(passages) if without_whitespace(sentence.text) in without_whitespace(passage)
        ]
        assert holders == [number] or (not sentence.text and seeds.count(seeds[number]) > 1)


def test_a_line_broken_in_chinese_is_joined_without_a_space() -> None:
    assert one_line("先看水位，\n再开闸门。\nThen wait\nhere.") == "先看水位，再开闸门。 Then wait here."
