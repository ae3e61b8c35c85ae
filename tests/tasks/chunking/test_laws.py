"""Whatever the text, the headings and the bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.chunking import ChunkOptions, Tokenizer, split
from millrace.tasks.records import Heading
from tests.tasks.chunking.laws import assert_lawful

_PIECES = [
    *(
        "a",
        "hello",
        "The quick",
        "brown fox. ",
        "def f(x):\n    return x\n",
        "| a | b |\n",
        "x" * 40,
        "1234567",
        "https://a.b/c?d=e",
    ),
    *(
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        "\u3000",
        "\xa0",
        "\x1c",
        "\x85",
        "\u2028",
        "\u200b",
        "\ufeff",
        "\x00",
    ),
    *(".", "! ", "? ", "; ", "...", "。", "，", "！”", "“", "……", "——", "===\n", "# H\n"),
    *("中文", "字", "は", "ひらがな", "한국", "\u1112\u1161\u11ab", "𠮷", "\u0e01\u0e33", "क्त", "क"),
    *("e\u0301", "\u0301", "\u200d", "\u0600", "\ufb2c", "a" + "\u0301" * 30, "𝅘𝅥𝅮"),
    *("👨‍👩‍👧‍👦", "🇨🇳", "🇺", "🇨" * 9, "👍🏽", "<|endoftext|>", " " * 50, "\n" * 20),
]
_ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_TEXTS = st.one_of(
    st.lists(st.one_of(st.sampled_from(_PIECES), _ANY_TEXT), max_size=60).map("".join),
    st.lists(st.sampled_from(_PIECES), min_size=1, max_size=3).flatmap(
        lambda few: st.lists(st.sampled_from(few), max_size=300).map("".join)
    ),
)


@st.composite
def _options(draw: st.DrawFn) -> ChunkOptions:
    max_tokens = draw(st.sampled_from([1, 2, 3, 5, 8, 16, 64, 512]))
    return ChunkOptions(
        max_tokens=max_tokens,
        overlap_tokens=draw(st.sampled_from([0, max_tokens // 4, max_tokens // 2])),
        max_bytes=draw(st.sampled_from([4, 5, 16, 64, 8192])),
        sections=draw(st.sampled_from(["pack", "apart"])),
    )


@st.composite
def _headings(draw: st.DrawFn, text: str) -> list[Heading]:
    starts = draw(st.lists(st.integers(0, max(0, len(text) - 1)), max_size=6))
    return [Heading(draw(st.integers(1, 4)), "title", start) for start in sorted(starts)]


@settings(max_examples=400)
@given(st.data(), _TEXTS, _options())
def test_every_splitting_obeys_the_laws(data: st.DataObject, text: str, options: ChunkOptions) -> None:
    tokenizer = Tokenizer.load()
    spans = list(split(text, data.draw(_headings(text)), tokenizer, options))
    assert_lawful(text, spans, tokenizer, options)


@settings(max_examples=100)
@given(_TEXTS, _options())
def test_the_same_text_is_always_split_the_same_way(text: str, options: ChunkOptions) -> None:
    tokenizer = Tokenizer.load()
    assert list(split(text, [], tokenizer, options)) == list(split(text, [], tokenizer, options))
