"""A command of the user's in place of a reader: what it makes is read, kept, and it never outlives its time."""

import hashlib
import sys
import time
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, ExternalCommand, LeftOutMember, ParsedFiles, read_documents
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import source_file


class Kept(dict[str, bytes]):
    """A store in memory."""

    def put(self, key: str, data: bytes) -> None:
        self[key] = data


def command(tmp_path: Path, script: str, *arguments: str, suffix: str = ".doc") -> ExternalCommand:
    """A command that runs `script` in Python, and knows no --version."""
    program = tmp_path / "convert"
    program.write_text(f"#!{sys.executable} -ISB\nimport os, sys, time\nassert sys.argv[1] != '--version'\n{script}")
    program.chmod(0o755)
    return ExternalCommand.of(suffix, f"{program} {' '.join(arguments)}")


def read(
    path: Path, external: ExternalCommand, kept: Kept, *, timeout_s: float = 30.0
) -> list[Document | LeftOutMember | Reject]:
    options = DocumentOptions(external=(external,), external_timeout_s=timeout_s)
    return list(read_documents(source_file(path), options, parsed=ParsedFiles(kept)))


TO_MARKDOWN = "print('run'); open(sys.argv[2] + '/x.md', 'w').write('# Title\\n\\n' + open(sys.argv[1]).read().upper())"


def test_the_output_is_read_in_its_own_format_under_the_name_and_hash_of_the_file(tmp_path: Path) -> None:
    path, kept = tmp_path / "-a.doc", Kept()
    path.write_bytes("old 文本".encode())
    external = command(tmp_path, TO_MARKDOWN, "{in}", "{out}")
    [document] = read(path, external, kept)
    assert isinstance(document, Document)
    assert (document.source, document.text, document.headings[0].title) == ("-a.doc", "# Title\n\nOLD 文本", "Title")
    assert document.document_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "convert").write_text("#!/bin/sh\nexit 9\n")
    assert read(path, external, kept) == [document]  # kept: the command is not run again
    kept.clear()
    assert isinstance(read(path, external, kept)[0], Reject)


def test_without_an_out_folder_what_it_prints_is_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.doc"
    path.write_text("x")
    [document] = read(path, command(tmp_path, "print('printed')", "{in}"), Kept())
    assert isinstance(document, Document)
    assert document.text.strip() == "printed"


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        ("sys.stderr.write('no such font'); sys.exit(3)", "external_failed", "ended with 3: no such font"),
        ("os.kill(os.getpid(), 9)", "external_failed", "ended with 137"),
        ("pass", "external_failed", "left nothing in {out}"),
        ("[open(sys.argv[2] + f'/{n}.md', 'w') for n in 'ab']", "external_failed", "left a.md, b.md in {out}"),
        ("os.fork() or time.sleep(60); time.sleep(60)", "timeout", "took longer than 0.5 s"),
    ],
)
def test_what_goes_wrong_is_a_reject_that_says_so(script: str, reason: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.doc"
    path.write_text("x")
    [reject] = read(path, command(tmp_path, script, "{in}", "{out}"), Kept(), timeout_s=0.5)
    assert isinstance(reject, Reject)
    assert reject.reason == reason
    assert words in reject.message


def test_nothing_that_it_started_is_left(tmp_path: Path) -> None:
    path, pids = tmp_path / "a.doc", tmp_path / "pids"
    path.write_text("x")
    leave = (
        f"child = os.fork()\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\nchild or time.sleep(60)\nprint('x')"
    )
    assert isinstance(read(path, command(tmp_path, leave, "{in}"), Kept())[0], Document)
    deadline = time.monotonic() + 20.0
    while any(map(is_alive, pids.read_text().split())):  # they have been killed; the kernel ends them in its own time
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("text", "words"),
    [("no-such-program {in}", "no program no-such-program"), ("cat", '"{in}" for the file'), ("'", "No closing")],
)
def test_a_command_that_cannot_be_run_is_wrong_configuration(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        ExternalCommand.of(".doc", text)


def test_its_version_is_part_of_what_identifies_it(tmp_path: Path) -> None:
    program = tmp_path / "v"
    program.write_text("#!/bin/sh\necho v 1.2\necho more\n")
    program.chmod(0o755)
    assert ExternalCommand.of(".doc", f"{program} {{in}}").version == "v 1.2"
