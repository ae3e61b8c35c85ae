"""A hyphen at the end of a line goes, unless the document says that the word has one."""

import pytest

from millrace.tasks.documents.pdf.hyphens import joined_words


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("the manip-\nulation of it", "the manipulation\nof it"),
        ("the manip- \n  ulation.\nNext", "the manipulation.\nNext"),
        ("at last: manip-\nulation", "at last: manipulation"),
        ("a well-\nknown man, a well-known mill", "a well-known\nman, a well-known mill"),
        ("half of it is closed; half-\nclosed gates", "half of it is closed; half-closed\ngates"),
        ("water proof; a water-\nproof coat, waterproof", "water proof; a waterproof\ncoat, waterproof"),
        ("a state-\nof-the-art mill", "a state-of-the-art\nmill"),
        ("soft\u00ad\nware", "software"),
        ("Anglo-\nSaxon", "Anglo-Saxon"),
        ("pages 12-\n13", "pages 12-\n13"),
        ("a list:\n- one\n- two", "a list:\n- one\n- two"),
        ("石桥-\n水磨", "石桥-水磨"),
    ],
)
def test_words_are_made_whole(text: str, whole: str) -> None:
    assert joined_words([text]) == [whole]


def test_other_pages_tell_too() -> None:
    assert joined_words(["re-\nsign", "to re-sign"]) == ["re-sign", "to re-sign"]
    assert joined_words(["re-\nsign", "to resign"]) == ["resign", "to resign"]
