"""Files within files in a run: documents of their own, which come and go with what they lie in."""

import pytest

from tests.flows.site import Site
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


def test_a_broken_attachment_keeps_its_rows_and_lets_the_others_go(local: Site) -> None:
    message = attached(attached(mail(), "b.txt", b"Attached."), "c.txt", b"Another.")
    local.write("a.eml", message.as_bytes())
    local.ingest()
    local.write("a.eml", attached(mail(), "b.txt", b"\x00\x01").as_bytes())
    report = local.ingest()
    assert (report.exit_code, report.documents.rejected, report.documents.removed) == (3, 1, 1)
    assert {row.content for row in local.rows().values()} == {"The weir holds.", "Attached."}
