"""`documents.external` in a run: its files are listed, parsed once, and parsed again after `prune --parsed`."""

import sys

from tests.flows.site import Site, json_of


def test_a_file_is_parsed_once_for_all_chunkings_until_it_is_pruned(site: Site) -> None:
    program, calls = site.folder / "convert", site.folder / "calls"
    program.write_text(
        f"#!{sys.executable} -ISB\nimport sys\nassert len(sys.argv) > 2\nopen({str(calls)!r}, 'a').write('x')\n"
        "open(sys.argv[2] + '/out.md', 'w').write('# A\\n\\n' + open(sys.argv[1]).read())"
    )
    program.chmod(0o755)
    site.overrides = (f'documents.external={{".doc" = "{program} {{in}} {{out}}"}}',)
    site.write("a.doc", "the wheel")
    site.write("b.vsd", "x")
    plan = json_of(site.run("plan", str(site.corpus), "--json"))
    assert (plan["documents"]["added"], plan["left_out"]["unsupported"]) == (1, {".vsd": 1})
    assert not site.lake.exists()
    site.ingest()
    assert [row.content for row in site.rows().values()] == ["# A\n\nthe wheel"]
    site.overrides += ("chunking.max_tokens=100",)
    assert site.run("ingest", str(site.corpus), "--change-embedding").returncode == 0
    assert calls.read_text() == "xx"  # by plan, which may not keep it, and by the first run
    assert json_of(site.run("status", "--json"))["parsed_files"] == 1
    assert site.run("prune", "--parsed", "--yes").returncode == 0
    assert json_of(site.run("status", "--json"))["parsed_files"] == 0
