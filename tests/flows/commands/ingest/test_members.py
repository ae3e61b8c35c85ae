"""Files within files in a run: documents of their own, which come and go with what they lie in."""

import pytest

from millrace.flows.commands.plan import make_plan
from tests.flows.site import Site
from tests.tasks.documents.archives.archives import zipped
from tests.tasks.documents.mail.mails import attached, mail


@pytest.fixture
def local(site: Site) -> Site:
    """A site without a provider."""
    site.overrides = ("embedding.provider=local", "sources.max_removed_share=1")
    return site


def test_attachments_are_documents_that_go_when_they_are_taken_out_of_the_mail(local: Site) -> None:
    message = attached(mail(), "notes.md", b"# Notes\n\nOf the weir.")
    local.write("a.eml", attached(message, "photo.jpg", b"\xff\xd8\xff", "image/jpeg").as_bytes())
    report = local.ingest()
    assert (report.exit_code, report.documents.added, report.left_out.unsupported) == (0, 2, {".jpg": 1})
    assert {row.content for row in local.rows().values()} == {"The weir holds.", "# Notes\n\nOf the weir."}
    assert local.ingest().documents.unchanged == 2
    local.write("a.eml", mail().as_bytes())
    report = local.ingest()
    assert (report.documents.removed, report.documents.changed, report.chunks.embedded) == (1, 1, 0)
    assert {row.content for row in local.rows().values()} == {"The weir holds."}


def test_attachments_without_a_reader_are_rejects_where_files_are(local: Site) -> None:
    local.write("a.eml", attached(mail(), "photo.jpg", b"\xff\xd8\xff", "image/jpeg").as_bytes())
    report = local.ingest("sources.unknown=reject")
    assert (report.exit_code, report.documents.added, report.left_out.total) == (3, 1, 0)
    [reject] = local.rejects()
    assert (reject["source"].rpartition("/")[2], reject["reason"]) == ("a.eml#photo.jpg", "unsupported_format")


def test_an_archive_in_a_mail_that_breaks_keeps_the_rows_of_its_files(local: Site) -> None:
    packed = zipped({"b.md": b"Packed.", "c.md": b"Beside it."})
    local.write("a.eml", attached(attached(mail(), "p.zip", packed), "d.md", b"Attached.").as_bytes())
    assert local.ingest().documents.added == 4
    local.write("a.eml", attached(mail(), "p.zip", packed[:50]).as_bytes())
    planned = make_plan(local.settings(), [local.corpus])
    report = local.ingest()
    assert (report.exit_code, report.documents.removed, planned.documents.removed) == (3, 1, 1)
    texts = {row.content for row in local.rows().values()}
    assert texts == {"The weir holds.", "Packed.", "Beside it."}
    local.write("a.eml", attached(mail(), "p.zip", zipped({"b.md": b"Packed."})).as_bytes())
    report = local.ingest()
    assert (report.exit_code, report.rejects, report.documents.removed) == (0, 0, 1)
    assert {row.content for row in local.rows().values()} == {"The weir holds.", "Packed."}


def test_a_broken_attachment_keeps_its_rows_and_lets_the_others_go(local: Site) -> None:
    message = attached(attached(mail(), "b.txt", b"Attached."), "c.txt", b"Another.")
    local.write("a.eml", message.as_bytes())
    local.ingest()
    local.write("a.eml", attached(mail(), "b.txt", b"\x00\x01").as_bytes())
    report = local.ingest()
    assert (report.exit_code, report.documents.rejected, report.documents.removed) == (3, 1, 1)
    assert {row.content for row in local.rows().values()} == {"The weir holds.", "Attached."}
