"""HTML becomes what a reader of the page would call its content."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.documents.html import read_html
from millrace.tasks.records import Document, Reject


def text_of(body: str) -> str:
    return read_html(f"<!DOCTYPE html><html><body>{body}</body></html>").text


def test_a_page_becomes_paragraphs_headings_lists_tables_and_code() -> None:
    page = read_html(
        """<html><head><title> 水轮 &amp; wheel </title><style>p {}</style></head><body>
        <nav><a href="/">Home</a></nav>
        <h1>The wheel<a class="headerlink" href="#x">¶</a></h1>
        <p>It turns
           <b>slowly</b>,<br>then fast.</p>
        <ul><li>one<li>two<ul><li>inner</ul></ul>
        <h2>表</h2>
        <table><tr><th>名<th>值</tr><tr><td><p>甲</p><td>1</tr></table>
        <pre>
  keep
	this</pre>
        <script>lost()</script><footer>© nobody</footer></body></html>"""
    )
    assert page.text == (
        "The wheel\n\nIt turns slowly,\nthen fast.\n\n- one\n- two\n  - inner\n\n表\n\n名 | 值\n甲 | 1\n\n  keep\n\tthis"
    )
    assert page.title == "水轮 & wheel"
    assert [(h.level, h.title, page.text[h.start :][: len(h.title)]) for h in page.headings] == [
        (1, "The wheel", "The wheel"),
        (2, "表", "表"),
    ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>a</p><p> </p><p>b</p>", "a\n\nb"),
        ("a <i> b</i> <b>c </b>d", "a b c d"),
        ("a&nbsp; b &lt;c&gt; &#x4e2d;", "a\xa0 b <c> 中"),
        ("中文\n    换行", "中文换行"),
        ("中文\n<b>换行</b> mixed\nwords", "中文换行 mixed words"),
        ("<div><div><div>deep</div></div></div>after", "deep\n\nafter"),
        ("<dl><dt>term<dd>meaning<dt>next<dd>more</dl>", "term\nmeaning\nnext\nmore"),
        ("x<sub>2</sub>", "x2"),
        ("<p>a<br><br>b", "a\n\nb"),
        ("<ol><li><p>loose</p></li><li>tight</li></ol>", "1. loose\n\n2. tight"),
    ],
)
def test_white_space_falls_as_in_a_browser(body: str, text: str) -> None:
    assert text_of(body) == text


@pytest.mark.parametrize(
    "out",
    [
        "<script>x</script>", "<style>x</style>", "<noscript>x</noscript>", "<template>x</template>", "<nav>x</nav>",
        "<div hidden>x</div>", "<p style='color: red; display:none'>x</p>", "<span style='visibility: hidden'>x</span>",
        "<div role=navigation>x</div>", "<header>x</header>", "<footer>x</footer>", "<i aria-hidden=true>x</i>",
        "<select><option>x</select>", "<textarea>x</textarea>", "<button>x</button>", "<svg><text>x</text></svg>",
        "<!-- x -->", "<iframe>x</iframe>", "<title>x</title>",
    ],
)  # fmt: skip
def test_what_is_no_content_is_left_out(out: str) -> None:
    assert text_of(f"<p>before</p>{out}<p>after</p>") == "before\n\nafter"


@pytest.mark.parametrize(
    "kept",
    [
        "<article><header>x</header></article>", "<section><footer>x</footer></section>", "<aside>x</aside>",
        "<details><summary>x</summary></details>", "<div aria-hidden=true>x</div>", "<div hidden=until-found>x</div>",
        "<h2><button>x</button></h2>", "<header><h1>x</h1></header>", "<blockquote>x</blockquote>",
    ],
)  # fmt: skip
def test_what_only_resembles_a_pages_frame_is_kept(kept: str) -> None:
    assert text_of(f"<p>before</p>{kept}<p>after</p>") == "before\n\nx\n\nafter"


def test_text_beside_main_is_not_lost() -> None:
    assert text_of("<div>beside</div><main>within</main>") == "beside\n\nwithin"


def test_a_table_that_lays_out_the_page_becomes_paragraphs() -> None:
    body = "<table><tr><td><h2>Left</h2>menu<td><table><tr><td>1<td>2</table><p>text</tr></table>"
    page = read_html(body)
    assert page.text == "Left\n\nmenu\n\n1 | 2\n\ntext"
    assert [(h.title, h.start) for h in page.headings] == [("Left", 0)]


def test_empty_cells_keep_their_place() -> None:
    assert text_of("<table><tr><td>a<td><td>c<tr><td><td><td></table>") == "a |  | c"


def test_the_line_numbers_of_a_listing_are_left_out() -> None:
    body = "<table><tr><td><pre>1\n2\n</pre><td><pre>a = 1\nb = 2\n</pre></table>"
    assert text_of(body) == "a = 1\nb = 2"


def test_a_heading_is_one_line_that_its_offset_points_at() -> None:
    page = read_html("<p>x<h3>Two<br>\n lines &amp; <code>code</code></h3>y<div role=heading aria-level=4>Fourth</div>")
    assert [(h.level, h.title, page.text[h.start :].partition("\n")[0]) for h in page.headings] == [
        (3, "Two lines & code", "Two lines & code"),
        (4, "Fourth", "Fourth"),
    ]


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<h2>Second</h2><h1>First</h1>", "First"),
        ("<h3>Only</h3>", "Only"),
        ("<title></title><svg><title>icon</title></svg><p>text", "page"),
    ],
)
def test_without_a_title_a_heading_or_the_file_name_stands_in(
    document: Callable[..., Document], page: str, title: str
) -> None:
    assert document("page.html", page).title == title


def test_the_charset_is_read_from_the_page(document: Callable[..., Document]) -> None:
    page = '<html><head><meta http-equiv="Content-Type" content="text/html; charset=GB2312"></head><p>水闸㐀</p>'
    assert document("a.htm", page.encode("gb18030")).text == "水闸㐀"


def test_xhtml_closes_its_elements_itself(document: Callable[..., Document]) -> None:
    page = (
        '<?xml version="1.0" encoding="utf-8"?><html><head><script src="x.js"/></head><body><p>kept</p></body></html>'
    )
    assert document("a.xhtml", page).text == "kept"


def test_a_page_that_scripts_fill_has_no_text(reject: Callable[..., Reject]) -> None:
    found = reject("a.html", "<html><head><title>App</title></head><body><div id=root></div><script>go()</script>")
    assert found.reason == "no_text"


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 100_000 + "deep" + "</div>" * 100_000,
        "<ul><li>" * 50_000 + "deep",
        "<table><tr><td>" * 20_000 + "deep",
        "<b>" * 50_000 + "deep",
        f"<p {' '.join(f'a{i}=1' for i in range(100_000))}>deep</p>",
    ],
    ids=["div", "list", "table", "b", "attributes"],
)
def test_enormous_markup_neither_recurses_nor_hangs(page: str) -> None:
    began = time.process_time()
    assert read_html(page).text.endswith("deep")
    assert time.process_time() - began < 10


_PIECES = st.sampled_from(
    ["<p>", "</p>", "<div hidden>", "</div>", "<table>", "<tr>", "<td>", "</table>", "<ul><li>", "</ul>", "<pre>", "</pre>",
     "<h1>", "</h1>", "<h2>", "<br>", "<header>", "</header>", "<script>", "</script>", "<!--", "-->", "&#0;", "&amp",
     "<td", "\n", " ", "word", "中", "<article>", "</article>", "<template>", "<svg>", "</svg>", "<button>", "<title>"]
)  # fmt: skip


@given(st.lists(_PIECES | st.text(max_size=5), max_size=40))
def test_any_markup_gives_text_whose_headings_are_where_they_say(pieces: list[str]) -> None:
    page = read_html("".join(pieces))
    starts = [h.start for h in page.headings]
    assert starts == sorted(starts)
    for heading in page.headings:
        assert page.text.startswith(heading.title, heading.start)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("100<sup>2</sup>=10000, 10<sup>6</sup>, 10<sup>-6</sup>, m<sup>2</sup>", "100^2=10000, 10^6, 10^-6, m^2"),
        ("2<sup>n+1</sup>, e<sup>x</sup>, (a+b)<sup>2</sup>", "2^(n+1), e^x, (a+b)^2"),
        ("the 1<sup>st</sup> and 3<sup>rd</sup>, Acme<sup>TM</sup>", "the 1st and 3rd, AcmeTM"),
        ("word<sup><a href='#1'>[4]</a></sup>, 500<sup><a href='#2'>2</a></sup>", "word[4], 500[2]"),
        ("3<sup>1</sup>/<sub>2</sub> or <sup>1</sup>&frasl;<sub>2</sub>", "3 1/2 or 1/2"),
        ("H<sub>2</sub>O, 101<sub>2</sub>", "H2O, 101_2"),
        ("x<span style='vertical-align: super'>2</span>", "x^2"),
        ("<pre>10<sup>6</sup></pre>", "10^6"),
        ("A visit costs <del>500</del> <ins>300</ins> since <s>May</s> June", "A visit costs 300 since June"),
        ("A visit costs <span style='text-decoration: line-through'>5</span> 3", "A visit costs 3"),
        (r"is <script type='math/tex'>\frac{Q}{A}</script> here", r"is $\frac{Q}{A}$ here"),
        ("<math><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac></math>", "(a+b)/2"),
        ("<math><msup><mi>c</mi><mn>2</mn></msup><mo>=</mo><msqrt><mi>x</mi></msqrt></math>", "c^2 = √(x)"),
        (
            "<math><semantics><mi>E</mi><annotation encoding='application/x-tex'>{\\displaystyle E=mc^2}</annotation>",
            "E=mc^2",
        ),
    ],
)
def test_markup_that_carries_the_meaning_of_a_number_becomes_text(body: str, text: str) -> None:
    assert text_of(body) == text


def test_deleted_text_that_is_never_closed_is_kept() -> None:
    assert text_of("<p>before <s>" + "<p>word " * 300).count("word") == 300


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("<tr><th>G<th>M<th>T<tr><td colspan=2>closed<td>9", "G | M | T\nclosed |  | 9"),
        ("<tr><td rowspan=2>North<td>1<tr><td>2<tr><td>South<td>3", "North | 1\nNorth | 2\nSouth | 3"),
        ("<tr><td>a<td rowspan=0>b<tr><td>c<tr><td>d", "a | b\nc | b\nd | b"),
        ("<tr><td>a<td>b<td>c<tr><td>x<td colspan=100>y", "a | b | c\nx | y"),
        ("<tr><td rowspan=2 colspan=2>N<td>1<tr><td>2", "N |  | 1\nN |  | 2"),
        ("<tr><td>a<td>b<tr><td colspan=2>All shut", "a | b\n\nAll shut"),
        (f"<tr><td rowspan=2>{'long ' * 20}<td>1<tr><td>2<td>3", f"{'long ' * 20}| 1\n | 2 | 3"),
    ],
)
def test_a_value_stays_under_its_column(rows: str, text: str) -> None:
    assert text_of(f"<table>{rows}</table>") == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<ruby>表<rt>ひょう</rt>示<rp>(</rp><rt>じ</rt><rp>)</rp></ruby>された", "表示された"),
        ("<ol><li>Close<li value=7>Open</ol><ol reversed><li>a<li>b</ol>", "1. Close\n7. Open\n\n2. a\n1. b"),
        ("<ol type=a start=3><li>x</ol><ol type=I><li>y<li>z<li>v<li>w</ol>", "c. x\n\nI. y\nII. z\nIII. v\nIV. w"),
        ("<button class=x>What does it cost?</button><p>Six.</p>", "What does it cost?\n\nSix."),
        ("<button aria-expanded=false>Hours</button><p>From ten.</p>", "Hours\n\nFrom ten."),
        ("<p>See<img src=g.png alt='three turns of the handle'>.</p>", "See three turns of the handle ."),
        ("<p>x</p><img alt='logo'><img alt='a b.png'><img alt='two words' role=presentation>", "x"),
        ("Do&shy;nau&#8203;dampf", "Donaudampf"),
        ("<ul><li><h3>Mill</h3><p>Built in 1774.</ul>", "Mill\n\nBuilt in 1774."),
    ],
)
def test_what_a_reader_sees_is_taken(body: str, text: str) -> None:
    assert text_of(body) == text


def test_a_heading_in_a_list_is_without_its_bullet() -> None:
    page = read_html("<ul><li><h3>Coldbrook Mill</h3><p>Built in 1774.</ul>")
    assert [(h.title, h.start) for h in page.headings] == [("Coldbrook Mill", 0)]


@pytest.mark.parametrize(
    "navigation",
    [
        "<a href=a>Prev</a> | <a href=b>Next</a>", "<p><a href=a>« Previous page</a></p>", "<a href=f>Download</a>",
        "<div class=breadcrumb><a>Home</a> &gt; <a>Mills</a></div>", "<ul class=pager><li><a>1</a><li><a>2</a></ul>",
        "<a rel=next href=c>Chapter 4</a>", "<p><a href='#top'>返回顶部</a></p>",
    ],
)  # fmt: skip
def test_navigation_is_left_out(navigation: str) -> None:
    assert text_of(f"<p>before</p>{navigation}<p>after</p>") == "before\n\nafter"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>Turn to the <a>next</a> page.</p>", "Turn to the next page."),
        ("<ul><li><a>Upload</a><li><a>Download</a></ul>", "- Upload\n- Download"),
        (
            "<div class=nav-guide><p>How to lead a boat through the lock.</p></div>",
            "How to lead a boat through the lock.",
        ),
    ],
)
def test_words_of_navigation_within_the_content_are_kept(content: str, text: str) -> None:
    assert text_of(content) == text


@pytest.mark.parametrize(
    "start",
    [
        '<?xml version="1.0"?><html>',
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x.dtd">\n<html>',
        '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">',
    ],
)
def test_xhtml_is_told_by_its_declaration_or_its_name_space(start: str) -> None:
    page = f'{start}<head><script src="a.js"/></head><body><p>All <b/>of<![CDATA[ a < b & <c> ]]>it</p></body></html>'
    assert read_html(page).text == "All of a < b & <c> it"


def test_a_frameset_is_named_as_one(reject: Callable[..., Reject]) -> None:
    found = reject("a.html", '<frameset cols="50%,50%"><frame src="a.html"><frame src="b.html"></frameset>')
    assert (found.reason, found.message) == (
        "no_text",
        "The page is a frameset: it only arranges other pages in frames.",
    )
    assert "a.html, b.html" in found.remedy
