"""Every file below the sources is accounted for by its suffix: taken, rejected as a whole, or ignored."""

from millrace.flows.commands.plan import make_plan
from millrace.flows.commands.report.write import write_report
from millrace.flows.monitoring.result import plain
from tests.flows.site import Site
from tests.tasks.documents.office.packages import package
from tests.tasks.documents.pdf_files import PdfFile

FILES = {
    "taken": {".jsonl": 1, ".md": 2, ".pdf": 1, ".zip": 1},
    "rejected": {".html": 1, ".md": 1},
    "ignored": {"": 1, ".vsd": 2},
}


def test_files_seen_are_taken_rejected_and_ignored_in_plan_run_and_second_run(site: Site) -> None:
    site.write("a.md", "the wheel")
    site.write("C#.md", "the weir")
    site.write("empty.MD", "")
    site.write("b.html", "<p></p>")
    site.write("sub/c.jsonl", '{"text": "one"}\n{"text": ""}\n')
    site.write(
        "half.pdf", PdfFile(broken_pages=frozenset({2}), is_compressed=True).add_page("x").add_page("y").to_bytes()
    )
    site.write("d.zip", package({"inner.md": "inside", "bad.html": "<p></p>", "x.vsd": "v"}))
    for name in ("e.vsd", "f.VSD", "Makefile"):
        site.write(name, b"\x00")
    for found in (
        make_plan(site.settings(), [site.corpus]).files,
        site.ingest().files,
        make_plan(site.settings(), [site.corpus]).files,
    ):
        assert plain(found) == FILES
    again = site.ingest()
    assert plain(again.files) == FILES
    assert "files      5 taken (2 .md, 1 .jsonl, 1 .pdf, 1 .zip), 2 rejected (1 .html, 1 .md)" in again.lines()
    write_report(site.settings(), out=site.folder / "page.html")
    page = (site.folder / "page.html").read_text(encoding="utf-8")
    assert "files: 5 taken (2 .md, 1 .jsonl, 1 .pdf, 1 .zip), 2 rejected (1 .html, 1 .md)" in page


def test_rejects_of_another_source_do_not_count(site: Site) -> None:
    site.write("one/a.md", "")
    site.write("two/b.md", "the wheel")
    site.ingest(sources=[site.corpus / "one"])
    assert site.ingest(sources=[site.corpus / "two"]).files.taken == {".md": 1}
    based = site.ingest(f"sources.base={site.corpus}", sources=[site.corpus])
    assert (based.files.taken, based.files.rejected) == ({".md": 1}, {".md": 1})
