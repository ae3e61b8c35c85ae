"""Bytes become the text that was meant, or a reject; never something else."""

import codecs
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.documents import DocumentOptions, read_documents
from millrace.tasks.documents.encoding import decode, known_codec
from millrace.tasks.documents.invisible import has_visible_text
from millrace.tasks.errors import ConfigurationError, Rejected
from millrace.tasks.records import Document, Reject, SourceFile

CHINESE = "水轮机的检修分为小修和大修。每次停机之后，先放空蜗壳里的水，再检查转轮有没有裂纹；记录写在值班日志里，由班长签字。\n"
TRADITIONAL = "水輪機的檢修分為小修和大修。每次停機之後，先放空蝸殼裡的水，再檢查轉輪有沒有裂紋；記錄寫在值班日誌裡，由班長簽字。\n"
JAPANESE = "水車の点検は毎年二回行います。まず水門を閉じて、羽根車にひびがないかどうかを確かめてください。\n"
KOREAN = "물레방아는 해마다 두 번 점검한다. 먼저 수문을 닫고 바퀴에 금이 갔는지 살펴보는 것이 좋다.\n"
FRENCH = "La roue à aubes a été réparée après la crue ; il faut vérifier les pales où l'eau s'est arrêtée.\n"
GERMAN = "Das Mühlrad dreht sich über dem Wehr; größere Schäden müssen sofort gemeldet werden, schöne Grüße.\n"
ENGLISH = "The miller wrote: “the café’s wheel turns — slowly.” It costs £5 a day.\n"
POLISH = "Koło młyńskie się obraca, a woda płynie dalej; należy sprawdzić łopatki i uszczelnić śluzę.\n"
CZECH = "Mlýnské kolo se otáčí pomalu a voda teče dál; po povodni je třeba zkontrolovat lopatky.\n"
RUSSIAN = "Мельничное колесо вращается медленно, и вода течёт дальше; проверьте лопасти после паводка.\n"
GREEK = "Ο τροχός του μύλου γυρίζει αργά και το νερό συνεχίζει τον δρόμο του προς τη θάλασσα.\n"
TURKISH = "Değirmen çarkı yavaşça dönüyor; taşkından sonra kanatları kontrol etmek için suyu kesmelisiniz.\n"


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (CHINESE, "utf-8"), (CHINESE, "utf-8-sig"), (CHINESE, "utf-16"), (CHINESE, "utf-32"),
        (CHINESE, "utf-16-le"), (CHINESE, "utf-16-be"), (CHINESE, "gb18030"), (CHINESE, "gbk"), (CHINESE, "hz"),
        (TRADITIONAL, "gbk"), (TRADITIONAL, "big5"), (TRADITIONAL, "utf-16-le"),
        (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp"), (JAPANESE, "iso2022_jp"), (KOREAN, "euc_kr"),
        (FRENCH, "latin-1"), (GERMAN, "latin-1"), (GERMAN, "mac-roman"), (ENGLISH, "cp1252"), (ENGLISH, "utf-16-be"),
        (POLISH, "cp1250"), (CZECH, "cp1250"), (CZECH, "iso8859-2"), (POLISH, "iso8859-2"), (TURKISH, "cp1254"), (GREEK, "cp1253"),
        (RUSSIAN, "cp1251"), (RUSSIAN, "koi8-r"), (RUSSIAN, "cp866"), (RUSSIAN, "iso8859-5"),
    ],
)  # fmt: skip
def test_text_in_a_usual_encoding_is_understood_without_being_told(text: str, codec: str) -> None:
    assert decode(text.encode(codec)) == text


@pytest.mark.parametrize(
    "text",
    ["中文", "数据库", "男\n女\n", "价格：一百元", "The report 报告 is here", "x" * 90_000 + "水轮机的检修"],
)
def test_little_chinese_in_gb18030_is_understood(text: str) -> None:
    assert decode(text.encode("gb18030")) == text


@pytest.mark.parametrize(
    "text", ["für", "a café in Paraná", "berücksichtigt", "© 2010 Rogério", "Don´t kno", "señor, naïve"]
)
def test_a_single_accent_is_western_european(text: str) -> None:
    assert decode(text.encode("latin-1")) == text


def test_rare_characters_of_gb18030_do_not_hide_the_common_ones() -> None:
    text = CHINESE + "𠮷野家㐀䶮\n"
    assert decode(text.encode("gb18030")) == text


@pytest.mark.parametrize(
    "data",
    [
        b"name\xa1GcwTeXMing, name\xa1GcwTeXKai",
        b"range (\x9071 or \x9074 degrees)",
        "𣎴𠀋𡈽𡌛𡑮".encode("big5hkscs", "ignore") + b"\xf9\xd6\xf9\xd7",
        CHINESE.encode() + CHINESE.encode("gbk"),
        bytes(range(128, 256)) * 4,
    ],
)
def test_bytes_that_could_be_several_things_are_rejected_rather_than_guessed(data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        decode(data)
    assert refused.value.reason in {"unknown_encoding", "binary"}


def test_damaged_utf8_is_rejected_with_the_place() -> None:
    with pytest.raises(Rejected, match="reads as utf-8, but byte 0xff at offset 156") as refused:
        decode(CHINESE.encode()[:156] + b"\xff" + CHINESE.encode()[156:])
    assert refused.value.reason == "unknown_encoding"


@pytest.mark.parametrize(
    "data",
    [b"\x7fELF\x02\x01\x01" + bytes(9), b"text with a \0 in it", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", bytes(5000)],
)
def test_binary_content_is_rejected(data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        decode(data)
    assert refused.value.reason == "binary"


@pytest.mark.parametrize("data", [b"", codecs.BOM_UTF8, b" \t\r\n", "\u3000\n".encode()])
def test_a_file_without_a_word_is_empty(data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        decode(data)
    assert refused.value.reason == "empty"


def test_a_forced_encoding_is_not_questioned() -> None:
    assert decode(b"f\xfcr", forced="latin-1") == "für"
    assert decode(codecs.BOM_UTF16_LE + "für".encode("utf-16-le"), forced="UTF-16") == "für"
    with pytest.raises(Rejected, match="offset 1") as refused:
        decode(b"f\xfcr", forced="utf-8")
    assert refused.value.reason == "wrong_encoding"


def test_an_unknown_forced_encoding_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="klingon"):
        decode(b"text", forced="klingon")


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("gb2312", "gb18030", "㐀字"),  # what pages call GB2312 often goes beyond it
        ("iso-8859-1", "cp1252", "“für”"),
        ("gbk", "utf-8", CHINESE),  # a page that lies about itself
        ("iso-8859-1", "utf-8", "für"),
        ("utf-8", "gb18030", CHINESE),
        ("klingon", "gb18030", CHINESE),
        ("iso-8859-1", "gb18030", CHINESE),
        ("iso-8859-1", "big5", TRADITIONAL),
    ],
)
def test_a_declared_encoding_is_believed_where_the_bytes_allow_it(declared: str, codec: str, text: str) -> None:
    assert decode(text.encode(codec), declared=declared) == text


@pytest.mark.parametrize("line", [b"# -*- coding: latin-2 -*-", b"<!-- vim: set fileencoding=latin-2 : -->"])
def test_an_editors_cookie_in_the_first_lines_tells_the_encoding(
    document: Callable[..., Document], line: bytes
) -> None:
    assert document("a.txt", line + b"\n\xa9koda\n").text.endswith("\nŠkoda\n")


def test_a_word_about_encodings_is_no_cookie(document: Callable[..., Document]) -> None:
    text = "默认的 encoding: latin-1 不对，文件里的中文会变成乱码。\n"
    assert document("a.txt", text.encode("gb18030")).text == text


def test_a_character_late_in_a_long_file_still_decides() -> None:
    text = "plain line of text\n" * 60_000 + CHINESE
    assert decode(text.encode("gb18030")) == text


@pytest.mark.parametrize("name", ["rot13", "hex", "base64", "", "utf\0"])
def test_only_encodings_of_text_are_known(name: str) -> None:
    assert known_codec(name) is None


@given(st.text(min_size=1))
def test_what_is_utf8_is_never_taken_for_anything_else(text: str) -> None:
    if "\0" in text or not has_visible_text(text) or text.isascii():
        return
    assert decode(text.encode()) == text.removeprefix("\ufeff")


@given(st.binary(max_size=400))
def test_any_bytes_give_text_that_can_be_stored_or_a_reject_with_a_remedy(data: bytes) -> None:
    try:
        text = decode(data)
    except Rejected as refused:
        text = f"{refused.reason}: {refused.remedy}"
    assert text.encode()
    assert "\0" not in text


def test_a_text_is_kept_exactly_as_it_was_decoded(document: Callable[..., Document]) -> None:
    text = "  e\u0301 \r\n\u3000ﬁ \t\x0c\u200b end"
    found = document("a.txt", codecs.BOM_UTF8 + text.encode())
    assert found.text == text
    assert (found.title, found.headings, found.pages) == ("a", (), ())


def test_the_document_hash_is_that_of_the_files_bytes(document: Callable[..., Document]) -> None:
    assert document("a.txt", b"abc").document_hash.startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


def test_a_file_named_directly_with_an_unknown_suffix_is_text(document: Callable[..., Document]) -> None:
    assert document("Makefile", "all:\n\techo").text == "all:\n\techo"


def test_a_file_that_is_gone_or_no_file_is_a_reject(tmp_path: object) -> None:
    gone = SourceFile(f"{tmp_path}/gone.txt", "gone.txt", 1, 1)
    folder = SourceFile(str(tmp_path), "folder.txt", 1, 1)
    for file in (gone, folder):
        [found] = read_documents(file, DocumentOptions())
        assert isinstance(found, Reject)
        assert (found.stage, found.source, found.item, found.reason) == ("read", file.name, "", "unreadable")


ARABIC = "الطاحونة تقف على ضفة النهر ويفتح الطحان البوابة كل صباح. تدور العجلة ببطء عندما يكون الماء منخفضا.\n"
LATVIAN = "Dzirnavas stāv upes krastā, un dzirnavnieks katru rītu atver slūžas. Rats griežas lēni, kad ūdens ir zems.\n"
LITHUANIAN = "Malūnas stovi prie upės, o malūnininkas kiekvieną rytą atidaro užtvanką; šįryt ąžuolas lūžo.\n"
PORTUGUESE = "O moinho não está aberto amanhã; a reparação será feita até março. As crianças estão à espera.\n"
HEBREW = "הטחנה עומדת על גדת הנהר והטוחן פותח את הסכר בכל בוקר. הגלגל מסתובב לאט כאשר המים נמוכים.\n"
THAI = "โรงสีตั้งอยู่ริมแม่น้ำ และคนสีข้าวเปิดประตูน้ำทุกเช้า ล้อหมุนช้าเมื่อน้ำน้อย\n"
UKRAINIAN = "Млин стоїть на березі річки, і мельник щоранку відчиняє шлюз. Колесо обертається повільно.\n"
ROMANIAN = "Moara stă pe malul râului, iar morarul deschide stăvilarul în fiecare dimineaţă şi roata se învârte.\n"
HUNGARIAN = "A malom a folyó partján áll, és a molnár minden reggel kinyitja a zsilipet; őszintén szólva ez jó idő.\n"


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (ARABIC, "iso8859-6"), (ARABIC, "cp1256"), (LATVIAN, "cp1257"), (LITHUANIAN, "cp1257"),
        (LITHUANIAN, "iso8859-13"), (PORTUGUESE, "cp860"), (PORTUGUESE, "cp1252"), (HEBREW, "cp1255"), (HEBREW, "iso8859-8"),
        (THAI, "cp874"), (UKRAINIAN, "koi8-u"), (UKRAINIAN, "cp1251"), (ROMANIAN, "cp1250"), (GREEK, "iso8859-7"),
        (RUSSIAN, "mac-cyrillic"), (KOREAN, "iso2022_kr"), (JAPANESE, "iso2022_jp"), (FRENCH, "mac-roman"),
        ("Всеки човек има право на образование и на вода от реката.", "cp1251"), ("ñandú, ésta, índice, cargó", "cp1252"),
        ("물이 적을 때에는 바퀴가 천천히 돕니다.", "euc_kr"),
    ],
)  # fmt: skip
def test_text_in_a_less_usual_encoding_is_understood(text: str, codec: str) -> None:
    assert decode(text.encode(codec)) == text


LANGUAGES = [
    FRENCH, GERMAN, POLISH, CZECH, RUSSIAN, GREEK, TURKISH, ARABIC, LATVIAN, LITHUANIAN, PORTUGUESE, HEBREW, THAI,
    UKRAINIAN, ROMANIAN, HUNGARIAN, KOREAN, JAPANESE, CHINESE,
]  # fmt: skip
ENCODINGS = [
    "cp437", "cp737", "cp775", "cp850", "cp852", "cp855", "cp857", "cp860", "cp862", "cp863", "cp865", "cp866", "cp869",
    "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1257", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-9",
    "iso8859-13", "iso8859-14", "iso8859-15", "koi8-u", "mac-roman", "mac-cyrillic", "mac-greek",
    "mac-latin2", "mac-turkish", "cp037", "cp500", "iso2022_kr", "iso2022_jp", "euc_jp", "cp949", "gb18030",
]  # fmt: skip


@pytest.mark.parametrize("codec", ENCODINGS)
def test_no_text_is_taken_for_another(codec: str) -> None:
    for language in LANGUAGES:
        for text in (language, language[: language.index(" ", 30) if " " in language[30:] else 30]):
            try:
                data = text.encode(codec)
            except UnicodeEncodeError:
                continue
            with suppress(Rejected):
                assert decode(data) == text, (codec, text)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Žuvys plaukia prieš srovę, o mes stovime ant kranto.", "cp1257"),  # as Icelandic: Þuvys plaukia prieð srovæ
        ("Žuvys plaukia prieš srovę, o mes stovime ant kranto.", "cp775"),  # with closing quotes: œuvys plaukia prie’
        ("Prašome uždaryti duris, nes šalta.", "iso8859-13"),
        ("Воденицата е затворена заради наводнението.", "mac-cyrillic"),  # with a low quote: ‚оденицата
    ],
)
def test_a_short_text_is_understood_or_refused(text: str, codec: str) -> None:
    with suppress(Rejected):
        assert decode(text.encode(codec)) == text


def test_utf7_is_understood_and_plus_signs_are_no_utf7() -> None:
    assert decode(FRENCH.encode("utf-7")) == FRENCH
    for text in ("call +491234- now", "a+b-c, x+abc-y, C++ and 1+1=2", "base64: +AOkAOk/abc+"):
        assert decode(text.encode()) == text


def test_a_short_page_in_utf8_that_declares_gb2312_is_utf8() -> None:
    assert decode("<p>水车 手册</p>".encode(), declared="gb2312") == "<p>水车 手册</p>"
    assert decode("<p>für</p>".encode(), declared="gb2312") == "<p>für</p>"


def test_utf8_that_is_cut_off_is_named_so() -> None:
    with pytest.raises(Rejected, match="cut off in the middle of its last character, at offset 156"):
        decode(CHINESE.encode()[:157])


def test_cesu8_is_named_so() -> None:
    with pytest.raises(Rejected, match="CESU-8"):
        decode(b"emoji \xed\xa0\xbd\xed\xb8\x80 in CESU-8 and plain text\n")


def test_escape_sequences_of_an_unknown_encoding_are_no_text() -> None:
    with pytest.raises(Rejected, match="escape sequences") as refused:
        decode(b"\x1b$)G\x1bOABCD\x0f and text")
    assert refused.value.reason == "unknown_encoding"


def test_one_byte_above_ascii_in_long_lines_takes_next_to_no_time() -> None:
    data = ("x " * 50_000 + "\n").encode() * 10 + "a café\n".encode("latin-1")
    began = time.process_time()
    assert decode(data).endswith("a café\n")
    assert time.process_time() - began < 2
