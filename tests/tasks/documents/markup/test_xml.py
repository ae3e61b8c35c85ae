"""XML is read by its text."""

from collections.abc import Callable

import pytest

from millrace.tasks.records import Document, Reject

BOMB = f"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">{
    "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
}]><x>&j;</x>"""


def test_elements_are_lines_and_those_within_text_are_not(document: Callable[..., Document]) -> None:
    content = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- comment --><?style x?>\n'
        '<book xmlns="urn:b"><title>The <em>Weir</em></title><chapter id="7">\n  <para>It is <b>shut</b> &amp; holds\n'
        "  well.</para>\n  <para><![CDATA[a < b]]></para></chapter><row><a>1</a><b>2</b></row></book>"
    )
    found = document("a.xml", content)
    assert found.title == "The Weir"
    assert found.text == "The Weir\n\nIt is shut & holds well.\n\na < b\n\n1\n2"


def test_the_encoding_that_the_declaration_names_is_used(document: Callable[..., Document]) -> None:
    content = '<?xml version="1.0" encoding="gbk"?><a>水位</a>'.encode("gbk")
    assert document("a.xml", content).text == "水位"
    assert document("b.xml", '<?xml version="1.0" encoding="utf-16"?><a>水位</a>'.encode("utf-16")).text == "水位"


def test_entities_are_neither_expanded_nor_fetched(document: Callable[..., Document]) -> None:
    own = '<!DOCTYPE x [<!ENTITY e "expanded">]><x>before &e; after</x>'
    assert document("a.xml", own).text == "before &e; after"
    secret = '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><x>before &f; after</x>'
    assert document("b.xml", secret).text == "before &f; after"


@pytest.mark.parametrize(
    ("content", "reason"), [("<a><b></a>", "damaged"), ("no XML", "damaged"), ("<a>&nbsp;</a>", "damaged"), ("<a/>", "no_text"),
     (BOMB, "damaged"), ("<a>" * 5_000 + "deep" + "</a>" * 5_000, "damaged")],
)  # fmt: skip
def test_what_is_not_well_formed_or_without_text_is_a_reject(
    reject: Callable[..., Reject], content: str, reason: str
) -> None:
    assert reject("a.xml", content).reason == reason


def test_elements_may_lie_deep(document: Callable[..., Document]) -> None:
    assert document("a.xml", "<a>" * 2_000 + "deep" + "</a>" * 2_000).text == "deep"
