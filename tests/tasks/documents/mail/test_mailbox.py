"""A mailbox is read mail by mail."""

from collections.abc import Callable

from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import Read

FIRST = b"From ann@example.com Mon Mar  3 10:00:00 2025\n"


def mailbox(*mails: bytes) -> bytes:
    return b"".join(FIRST + each + b"\n\n" for each in mails)


def named(found: list[object]) -> list[tuple[str, str]]:
    return [(each.source, each.text) for each in found if isinstance(each, Document)]


def test_mails_are_named_by_their_ids_or_numbers(read: Read) -> None:
    content = mailbox(
        b"Message-ID: <a/b@c>\n\nFirst.",
        b"Subject: none\n\nSecond.",
        b"Message-ID: <a/b@c>\n\nThird.",
        b"Message-ID: <n\x00#1@c>\n\nFourth.",
    )
    assert named(list(read("all.mbox", content))) == [
        ("all.mbox#a/b@c", "First."),
        ("all.mbox#2", "Second."),
        ("all.mbox#3", "Third."),
        ("all.mbox#n%231@c", "Fourth."),
    ]


def test_lines_that_begin_with_from_are_no_mails_when_they_are_escaped_or_have_no_date(read: Read) -> None:
    text = b"Subject: a\n\n>From here.\n>>From there.\n\nFrom now on, at noon,\nFrom x Mon Mar  3 10:00:00 2025 y"
    assert [text for _, text in named(list(read("a.mbox", mailbox(text, b"Subject: b\n\nB."))))] == [
        "From here.\n>From there.\n\nFrom now on, at noon,\nFrom x Mon Mar  3 10:00:00 2025 y",
        "B.",
    ]


def test_a_mailbox_whose_separators_have_no_date_and_whose_lines_end_in_cr_lf_is_read(read: Read) -> None:
    content = mailbox(b"Subject: a\n\nA.", b"Subject: b\n\nB.").replace(FIRST, b"From -\n").replace(b"\n", b"\r\n")
    assert [text for _, text in named(list(read("a.mbox", content)))] == ["A.", "B."]


def test_a_broken_mail_costs_itself_alone(read: Read) -> None:
    content = mailbox(b"Subject: a\n\nA.", b"no header", b"Subject: c\n\nC.")
    _, refused, third = read("a.mbox", content)
    assert isinstance(refused, Reject)
    assert (refused.source, refused.reason) == ("a.mbox#2", "damaged")
    assert isinstance(third, Document)


def test_what_is_no_mailbox_is_a_reject(reject: Callable[..., Reject]) -> None:
    assert reject("a.mbox", b"Subject: a\n\nA mail, of no mailbox.").reason == "damaged"
    assert reject("b.mbox", b"").reason == "empty"
