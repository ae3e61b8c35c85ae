"""Names of documents are shown in Markdown as they are, and make nothing of it."""

import pytest

from millrace.flows.commands.report.markdown_summary import escaped, fenced


@pytest.mark.parametrize(
    "name", ["![](http://a.example/x)", "a|b", "`c`", "<img src=x>", "*d*_e_", "# f", "[g](h)", "\\", "~~i~~", "$x$"]
)
def test_every_mark_of_a_name_is_escaped(name: str) -> None:
    shown = escaped(name)
    assert shown.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\") == name
    marks = [i for i, c in enumerate(shown) if c in "`*_[]()<>#|~$!"]
    assert all(shown[i - 1] == "\\" for i in marks)


def test_a_name_over_several_lines_stays_in_its_cell() -> None:
    assert escaped("a\n| b |\r\n# c") == "a \\| b \\| \\# c"


def test_no_line_ends_the_block_that_it_is_in() -> None:
    assert fenced(["a", "```", "# b"]) == "````\na\n```\n# b\n````"
