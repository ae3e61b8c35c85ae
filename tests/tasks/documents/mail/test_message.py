"""Mails become text with their headers as metadata, and their attachments documents of their own."""

import io
import zipfile
from base64 import b64encode
from collections.abc import Callable
from email.message import EmailMessage

import pytest

from millrace.tasks.documents import LeftOutMember
from millrace.tasks.records import Document, LeftOut
from tests.tasks.documents.conftest import Read
from tests.tasks.documents.mail.mails import attached, lines, mail

OneDocument = Callable[..., Document]


def sources(found: list[object]) -> list[str]:
    return [each.source for each in found if isinstance(each, Document)]


def test_headers_become_metadata_and_the_subject_the_title(document: OneDocument) -> None:
    found = document(
        "a.eml",
        mail(
            From="Ann Weir <ann@example.com>",
            To='bob@example.com, "Li, Wei" <li@example.com>',
            Cc="cy@example.com",
            Date="Mon, 03 Mar 2025 10:00:00 +0800",
            Message_ID="<1@example.com>",
            In_Reply_To="<0@example.com>",
        ).as_bytes(),
    )
    assert (found.title, found.text) == ("The weir", "The weir holds.")
    assert found.extra == {
        "from": "Ann Weir <ann@example.com>",
        "to": ["bob@example.com", "Li, Wei <li@example.com>"],
        "cc": ["cy@example.com"],
        "date": "2025-03-03T10:00:00+08:00",
        "message_id": "1@example.com",
        "in_reply_to": "0@example.com",
    }


def test_chinese_that_is_declared_as_gb2312_and_is_more_is_read(document: OneDocument) -> None:
    subject = b64encode("关于朱镕基的通知".encode("gb18030")).decode()
    found = document(
        "a.eml",
        lines(
            "From: =?GB2312?B?1cXI/Q==?= <z@example.cn>",
            b"To: " + "李四".encode("gbk") + b" <l@example.cn>",
            f"Subject: =?gb2312?B?{subject}?=",
            "Content-Type: text/plain; charset=GB2312",
            "",
            "各位同事：请查收朱镕基的方案。".encode("gb18030"),
        ),
    )
    assert (found.title, found.text) == ("关于朱镕基的通知", "各位同事：请查收朱镕基的方案。")
    assert found.extra == {"from": "张三 <z@example.cn>", "to": ["李四 <l@example.cn>"]}


def test_a_word_that_is_cut_between_two_encoded_words_is_whole(document: OneDocument) -> None:
    head, tail = b64encode("水位".encode()[:4]).decode(), b64encode("水位".encode()[4:]).decode()
    message = lines(f"Subject: =?utf-8?B?{head}?=", f" =?utf-8?B?{tail}?=", "", "text")
    assert document("a.eml", message).title == "水位"


def html_mail(plain: str, html: str) -> bytes:
    message = mail(text=plain)
    message.add_alternative(html, subtype="html")
    return message.as_bytes()


def test_of_two_alternatives_the_plain_one_is_read_unless_it_is_far_shorter(document: OneDocument) -> None:
    page = "<h1>Levels</h1><p>The river rises at the mill.</p>"
    assert document("a.eml", html_mail("Levels\n\nThe river rises at the mill.", page)).headings == ()
    found = document("b.eml", html_mail("See http://x.example/" + "long/" * 40, page))
    assert (found.text, [h.title for h in found.headings]) == ("Levels\n\nThe river rises at the mill.", ["Levels"])


def test_all_parts_that_are_shown_are_read_in_order(document: OneDocument) -> None:
    parts = [mail(text="Before."), mail(text="<p>Between.</p>"), mail(text="After.")]
    parts[1].replace_header("Content-Type", "text/html")
    whole = EmailMessage()
    whole["Subject"] = "Three"
    whole.make_mixed()
    for part in parts:
        del part["Subject"]
        whole.attach(part)
    assert document("a.eml", whole.as_bytes()).text == "Before.\n\nBetween.\n\nAfter."


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("On Mon, 3 Mar 2025, Ann <a@example.com> wrote:", None),
        ("On Mon, 3 Mar 2025, Ann Weir of the Upper Mill\n<a@example.com> wrote:",
         "On Mon, 3 Mar 2025, Ann Weir of the Upper Mill <a@example.com> wrote:"),
        ("在 2025年3月3日，张三 <z@example.cn> 写道：", None),
        ("发件人: 张三\n发送时间: 2025年3月3日\n主题: 方案", "发件人: 张三"),
        ("-----Original Message-----\nFrom: Ann\nSent: Monday", "-----Original Message-----"),
        ("Am 03.03.25 um 10:00 schrieb Ann:", None),
    ],
)  # fmt: skip
def test_what_is_quoted_stays_and_is_a_section_of_its_own(document: OneDocument, line: str, title: str | None) -> None:
    text = f"Yes, tomorrow.\n\n-- \nBob\n\n{line}\n> Do you open the sluice?"
    found = document("a.eml", mail(text=text).as_bytes())
    assert found.text == text
    assert [(h.title, text[h.start :].startswith(line)) for h in found.headings] == [(title or line, True)]


def test_attachments_are_documents_and_pictures_of_the_text_are_not(read: Read) -> None:
    message = mail()
    message.add_related(b"\x89PNG", "image", "png", cid="<logo>", filename="logo.png")
    attached(message, "notes.md", b"# Notes\n\nOf the weir.", "text/markdown")
    attached(message, "patch.diff", b"+ a line", "text/plain")
    attached(message, "photo.jpg", b"\xff\xd8\xff", "image/jpeg")
    attached(message, "setup.exe", b"MZ\x90", "application/octet-stream")
    message.add_attachment(mail("Forwarded", "The inner text.", From="cy@example.com"))
    found = read("a.eml", message.as_bytes())
    assert [(d.source, d.title, d.text) for d in found if isinstance(d, Document)] == [
        ("a.eml", "The weir", "The weir holds."),
        ("a.eml#notes.md", "Notes", "# Notes\n\nOf the weir."),
        ("a.eml#patch.diff", "a.eml#patch", "+ a line"),
        ("a.eml#Forwarded.eml", "Forwarded", "The inner text."),
    ]
    assert [each for each in found if isinstance(each, LeftOutMember)] == [
        LeftOutMember("a.eml#photo.jpg", LeftOut({".jpg": 1})),
        LeftOutMember("a.eml#setup.exe", LeftOut({".exe": 1})),
    ]


def test_names_of_attachments_are_safe_and_distinct(read: Read) -> None:
    message = mail()
    for name in ("../../etc/passwd.txt", "C:\\\\docs\\\\a.txt", "a.txt", "b\x00\x1f\x7ftxt.txt", "C#.txt", "..",
                 f"{'x' * 300}.txt"):  # fmt: skip
        attached(message, "name", b"text", "text/plain")
        message.get_payload()[-1].replace_header("Content-Disposition", f'attachment; filename="{name}"')  # type: ignore[union-attr,index]
    raw = message.as_bytes(policy=message.policy.clone(max_line_length=None))
    assert sources(list(read("a.eml", raw))) == [
        "a.eml",
        *("a.eml#passwd.txt", "a.eml#a.txt", "a.eml#a-2.txt", "a.eml#b txt.txt", "a.eml#C%23.txt"),
        *("a.eml#attachment-6.txt", f"a.eml#{'x' * 196}.txt"),
    ]


def test_names_in_chinese_are_read_however_they_are_encoded(read: Read) -> None:
    message = lines(
        "Subject: x",
        "Content-Type: multipart/mixed; boundary=b",
        "",
        "--b",
        "Content-Type: text/plain",
        "Content-Disposition: attachment; filename*0*=gb2312''%B9%D8; filename*1*=%D3%DA.txt",
        "",
        "one",
        "--b",
        'Content-Type: text/plain; name="=?gb2312?B?udjT2i5tZA==?="',
        "",
        "two",
        "--b--",
    )
    assert sources(list(read("a.eml", message))) == ["a.eml", "a.eml#关于.txt", "a.eml#关于.md"]


def test_reports_are_shown_and_files_that_are_elsewhere_are_nothing(document: OneDocument) -> None:
    message = lines(
        "Subject: Undelivered",
        "Content-Type: multipart/report; boundary=b",
        "",
        *("--b", "", "It could not be delivered."),
        *("--b", "Content-Type: message/delivery-status", "", "Status: 5.1.1", "", "Final-Recipient: rfc822; a@b"),
        *("--b", "Content-Type: message/external-body; access-type=ftp", "", "Content-Type: text/plain", "", "x"),
        "--b--",
    )
    text = document("a.eml", message).text
    assert text == "It could not be delivered.\n\nStatus: 5.1.1\n\nFinal-Recipient: rfc822; a@b"


def test_a_mail_without_text_is_its_subject(document: OneDocument) -> None:
    assert document("a.eml", mail("The sluice is shut", "").as_bytes()).text == "The sluice is shut"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"Just a text, of no mail.\n", "damaged"),
        (b"Content-Type: multipart/encrypted\r\n\r\nx", "encrypted"),
        (b"Content-Type: application/pkcs7-mime\r\n\r\nx", "encrypted"),
        (b"X-Mailer: none\r\n\r\n", "no_text"),
        (b"Content-Type: text/plain; charset=utf-8\r\n\r\n\x00\x01\x02", "binary"),
        (b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(999)), "too_deep"),
    ],
)
def test_what_is_no_mail_is_a_reject(reject: Callable[..., object], content: bytes, reason: str) -> None:
    found = reject("a.eml", content)
    assert (found.source, found.reason) == ("a.eml", reason)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "header",
    [
        "Subject: =?utf-8?b?w6k?= =?nope?q?=E4=B8?= =?utf-8?b?!?=",
        "From: " + "(" * 20_000,
        "To: <@" + ",<@" * 1_000,
        "Date: Thu, 32 Foo 20255 99:99:99 +9999",
        "Date: Mon, 03 Mar 99999999999999999999 10:00:00 +0000",
        "Message-ID: <<<>>",
        "Content-Type: text/plain; charset*=nope''%FF; name*0*=x",
        "Content-Type: ;;;",
        "Content-Transfer-Encoding: x-uuencode",
        "Subject: " + "=?utf-8?q?a?= " * 100_000,
    ],
)
def test_a_broken_header_does_not_cost_the_text(document: OneDocument, header: str) -> None:
    assert document("a.eml", lines(header, "", "The weir holds.")).text == "The weir holds."


def test_thousands_of_recipients_do_not_fill_the_metadata(document: OneDocument) -> None:
    message = mail(To=", ".join(f"u{i}@example.com" for i in range(5_000)))
    extra = document("a.eml", message.as_bytes()).extra
    listed, rest = extra["to"], extra["to_left_out"]
    assert isinstance(listed, list)
    assert len(str(listed)) < 4_500
    assert (listed[0], len(listed) + int(str(rest))) == ("u0@example.com", 5_000)


def test_base64_that_was_cut_gives_what_is_whole(document: OneDocument) -> None:
    data = b64encode(b"The weir holds. ").decode().rstrip("=")[:-1]
    message = lines("Subject: x", "Content-Transfer-Encoding: base64", "", data)
    assert document("a.eml", message).text.startswith("The weir hold")


def test_a_text_that_hung_its_reader_does_not_cost_the_attachments(tmp_path: object) -> None:
    from pathlib import Path

    from millrace.tasks.documents import DocumentOptions, read_documents
    from tests.tasks.documents.conftest import source_file

    path = Path(str(tmp_path)) / "a.eml"
    path.write_bytes(attached(mail(), "b.txt", b"attached").as_bytes())
    announced: list[str] = []
    found = list(read_documents(source_file(path), DocumentOptions(), at=announced.append))
    assert announced == ["", "text", "b.txt#", "b.txt#"]
    [lost, kept] = read_documents(source_file(path), DocumentOptions(), skip={"text": "timeout: 60 s"})
    assert (getattr(lost, "item", ""), getattr(lost, "reason", "")) == ("text", "timeout")
    [kept, lost] = read_documents(source_file(path), DocumentOptions(), skip={"b.txt#": "died: signal 9"})
    assert kept == found[0]
    assert (lost.source, getattr(lost, "reason", "")) == ("a.eml#b.txt", "reader_died")


def test_mails_in_mails_are_read_to_a_bound(read: Read) -> None:
    message = mail("Innermost")
    for depth in range(5):
        outer = mail(f"Level {depth}")
        outer.add_attachment(message)
        message = outer
    *documents, refused = read("a.eml", message.as_bytes())
    assert len(documents) == 5
    assert getattr(refused, "reason", "") == "too_deep"


def test_an_archive_without_its_format_is_left_out_by_its_suffix(read: Read) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", b"\x89PNG")
    found = read("a.eml", attached(mail(), "a.7z", packed.getvalue()).as_bytes())
    assert found[1] == LeftOutMember("a.eml#a.7z", LeftOut({".7z": 1}))
