"""`chunks`: a file is cut as a run would cut it, and shown; nothing is kept and nothing is sent."""

import pytest

from millrace.flows.commands.chunks.cut import cut_file
from millrace.tasks.errors import SourceError
from tests.flows.prose import english
from tests.flows.site import Site
from tests.tasks.documents.pdf_files import PdfFile


def test_the_chunks_are_those_of_a_run_and_nothing_is_written_or_sent(site: Site) -> None:
    path = site.write("a.md", "# Mill\n\n" + english(30, seed=1) + "\n\n## 水轮\n\n" + english(10, seed=2))
    cut = cut_file(site.settings(), path)
    assert not site.lake.exists()
    assert site.simulator.books.requests == 0
    site.ingest()
    rows = sorted(site.rows().values(), key=lambda row: row.metadata["chunk_number"])
    assert [(chunk.content, list(chunk.heading_path), chunk.tokens) for chunk in cut.chunks] == [
        (row.content, row.metadata["heading_path"], row.metadata["token_count"]) for row in rows
    ]
    assert cut.chunks[-1].heading_path == ("Mill", "水轮")


def test_lines_say_where_each_chunk_is_and_show_its_text(site: Site) -> None:
    path = site.write("a.pdf", PdfFile().add_page("The wheel turns,", "slowly.").to_bytes())
    shown = site.run("chunks", str(path)).stdout.splitlines()
    assert shown[0].startswith("-- chunk 0, page 1, ")
    assert [line.rstrip() for line in shown[1:3]] == ["The wheel turns,", "slowly."]
    assert shown[-1].startswith("1 chunk, ")


def test_what_a_run_would_refuse_is_told_with_its_remedy(site: Site) -> None:
    cut = cut_file(site.settings(), site.write("empty.md", ""))
    assert cut.exit_code == 3
    said = "\n".join(cut.lines())
    assert "empty: The file holds 0 bytes." in said
    assert "Remove it, or write it again." in said


def test_a_folder_and_a_missing_file_are_told(site: Site) -> None:
    site.write("a.md", "x")
    with pytest.raises(SourceError, match="is a folder; name one file of it"):
        cut_file(site.settings(), site.corpus)
    with pytest.raises(SourceError, match="No such file"):
        cut_file(site.settings(), site.corpus / "b.md")


def test_a_page_shows_the_chunks_beside_the_pages_of_a_pdf(site: Site) -> None:
    good = site.write("a.pdf", PdfFile().add_page("<script>alert(1)</script>").add_page("Two").to_bytes())
    page = site.folder / "chunks.html"
    assert site.run("chunks", str(good), "--html", str(page)).returncode == 0
    written = page.read_text(encoding="utf-8")
    assert written.count("data:image/png;base64,") == 2
    assert written.count("continued from the page before") == 1  # both pages are one chunk
    assert "&lt;script&gt;" in written
    assert "<script" not in written
