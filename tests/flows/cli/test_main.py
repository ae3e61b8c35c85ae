"""The command as a user meets it: exit codes, what is on which stream, and no traceback for what can be expected."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from millrace.flows.commands.search.excerpt import print_coloured
from millrace.flows.commands.search.result import SearchHit, SearchResult
from millrace.flows.wiring.milvus import lease_collection
from millrace.tasks.lake import Lake
from tests.flows import forked
from tests.flows.prose import english
from tests.flows.site import ROOT, Site, json_of
from tests.simulator.settings import API_KEY


def test_json_is_all_of_standard_output_and_says_everything(site: Site) -> None:
    site.write("a.md", "# A\n\n" + english(20))
    done = site.run("ingest", str(site.corpus), "--json")
    assert done.returncode == 0, done.stderr
    report = json_of(done)
    assert report["documents"].keys() >= {"seen", "added", "changed", "unchanged", "removed", "rejected"}
    assert report["chunks"].keys() >= {"total", "embedded", "reused", "upserted", "deleted", "rejected"}
    assert report["requests"].keys() >= {"sent", "throttled", "retried"}
    assert report["tokens"].keys() >= {"counted", "billed"}
    assert report["cost_cny"] > 0
    assert report["seconds"] > 0


def test_a_person_gets_lines_and_the_way_to_the_ui(site: Site) -> None:
    site.write("a.md", "# A\n\n" + english(20))
    done = site.run("ingest", str(site.corpus))
    assert done.returncode == 0
    assert done.stdout.startswith("documents  1 seen: 1 added")
    assert "PREFECT_API_URL" in done.stderr


def test_rejects_make_exit_code_3_and_are_listed_with_a_remedy(site: Site) -> None:
    site.write("a.md", "# A\n\n" + english(20))
    site.write("b.txt", b"")
    assert site.run("ingest", str(site.corpus), "--json").returncode == 3
    listed = json_of(site.run("rejects", "list", "--json"))
    assert listed["count"] == 1
    assert listed["rejects"][0]["source"].endswith("b.txt")
    assert "b.txt: The file holds 0 bytes." in site.run("rejects").stdout
    assert json_of(site.run("rejects", "list", "--reason", "no_such_reason", "--json"))["count"] == 0


@pytest.mark.parametrize(
    ("more", "code", "word"),
    [
        (["--set", "embedding.model=text-embedding-v9"], 2, "text-embedding-v4"),
        (["--set", "embedding.dimensions=100"], 2, "1024"),
        (["--set", "embedding.provider=nobody"], 2, "embedding.provider"),
        (["--set", "chunking.max_token=5"], 2, "chunking.max_tokens"),
        (["--set", "chunking.max_tokens=9000"], 2, "8191"),
        (["--set", "milvus.collection=bad-name!"], 2, "milvus.collection"),
        (["--set", "nonsense"], 2, "section.key=value"),
        (["--config", "no/such/file.toml"], 2, "no/such/file.toml"),
        (["--max-cny", "-1"], 2, "budget.max_cny"),
        (["--no-such-option"], 2, "--no-such-option"),
        (["--set", "lake.path=/dev/null/lake"], 1, "/dev/null/lake"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(site: Site, more: list[str], code: int, word: str) -> None:
    site.write("a.md", "# A\n\n" + english(20))
    # Appended after the site's own settings, so that these win.
    arguments = [*site.arguments("ingest", str(site.corpus), "--json"), *more]
    done = forked.run(arguments, site.process_environment(), timeout_s=60)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    error = json_of(done)["error"]
    assert word in error
    assert done.stderr.count(error) == 1


def lose_a_source(site: Site, _: ExitStack) -> None:
    (site.corpus / "a.md").rename(site.folder / "away.md")
    site.corpus.rmdir()


def forget_the_key(site: Site, _: ExitStack) -> None:
    site.environment.pop("DASHSCOPE_API_KEY")


def refuse_the_key(site: Site, _: ExitStack) -> None:
    site.environment["DASHSCOPE_API_KEY"] = "sk-of-nobody"


def damage_the_manifest(site: Site, _: ExitStack) -> None:
    assert site.ingest().exit_code == 0
    for path in filter(Path.is_file, (site.lake / "documents").rglob("manifest*")):
        path.write_bytes(b"no table")


def hold_the_lake(site: Site, held: ExitStack) -> None:
    held.enter_context(Lake.open(site.lake, "documents"))


def hold_the_collection(site: Site, held: ExitStack) -> None:
    other = site.settings(f"lake.path={site.folder / 'other'}")
    held.enter_context(lease_collection(other, site.environment))


def spend_all(site: Site, _: ExitStack) -> None:
    site.overrides = ("budget.max_cny=0.0000001",)


def take_the_milvus_away(site: Site, _: ExitStack) -> None:
    site.overrides = ("milvus.uri=http://127.0.0.1:9", "milvus.wait_s=0", "milvus.timeout_s=2")


@pytest.mark.parametrize(
    "arrange",
    [
        lose_a_source,
        forget_the_key,
        refuse_the_key,
        damage_the_manifest,
        hold_the_lake,
        hold_the_collection,
        spend_all,
        take_the_milvus_away,
    ],
)
def test_an_error_is_printed_once(site: Site, arrange: Callable[[Site, ExitStack], None]) -> None:
    """For a person: the last thing on standard error, and nowhere besides."""
    site.write("a.md", "# A\n\n" + english(20))
    with ExitStack() as held:
        arrange(site, held)
        done = site.run("ingest", str(site.corpus))
    assert done.returncode in {1, 2, 4}
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    told = [line.removeprefix("millrace: ") for line in lines if line.startswith("millrace: ")]
    assert len(told) == 1
    sentence = told[0].partition(". ")[0]
    assert (done.stdout + done.stderr).count(sentence) == 1


def test_a_missing_source_is_a_usage_error(site: Site) -> None:
    done = site.run("ingest", str(site.folder / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr


def test_a_missing_key_names_the_variable(site: Site) -> None:
    site.write("a.txt", english(5))
    done = site.run("ingest", str(site.corpus), DASHSCOPE_API_KEY="")
    assert done.returncode == 2
    assert "DASHSCOPE_API_KEY" in done.stderr


def test_a_wrong_key_stops_with_the_providers_code_and_never_shows_the_key(site: Site) -> None:
    site.write("a.txt", english(5))
    done = site.run("ingest", str(site.corpus), DASHSCOPE_API_KEY="sk-this-is-a-secret")
    assert done.returncode == 1
    assert "invalid_api_key" in done.stderr
    assert "Traceback" not in done.stderr
    assert "this-is-a-secret" not in done.stdout + done.stderr
    left = b"".join(path.read_bytes() for path in site.lake.rglob("*") if path.is_file())
    assert b"this-is-a-secret" not in left


@pytest.mark.slow
def test_a_server_that_is_down_is_reported_with_its_address(site: Site) -> None:
    site.write("a.txt", english(5))
    site.overrides = ("embedding.base_url=http://127.0.0.1:9/v1",)
    done = site.run("ingest", str(site.corpus))
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_key_is_in_no_lake_file_after_a_good_run(site: Site) -> None:
    site.write("a.txt", english(5))
    assert site.run("ingest", str(site.corpus)).returncode == 0
    assert API_KEY.encode() not in b"".join(p.read_bytes() for p in site.lake.rglob("*") if p.is_file())


def test_search_shows_file_page_and_passage(site: Site) -> None:
    site.overrides = ("embedding.provider=local", "embedding.base_url=")
    sample = str(ROOT / "data" / "sample")
    assert site.run("ingest", sample).returncode == 0
    found = site.run("search", "where is the spare winding handle kept")
    first = found.stdout.split("\n\n")[1]
    assert "flood-and-low-water-plan.pdf, page 3" in first
    assert "green box" in first
    assert "by their words" in found.stdout
    hits = json_of(site.run("search", "水斗板和木齿的含水率控制在多少", "--json"))["hits"]
    assert hits[0]["metadata"]["source"].endswith("restoration-report.zh.pdf")
    assert hits[0]["metadata"]["page_start"] == 2
    only = json_of(site.run("search", "gate", "--filter", 'metadata["source"] like "%.rst"', "--json"))["hits"]
    assert only
    assert all(hit["metadata"]["source"].endswith(".rst") for hit in only)


def test_search_before_ingest_says_what_to_do(site: Site) -> None:
    done = site.run("search", "anything")
    assert done.returncode == 1
    assert "ingest" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_tells_totals_and_runs(site: Site) -> None:
    site.write("a.txt", english(5))
    assert site.run("status").returncode == 2
    site.run("ingest", str(site.corpus))
    status = json_of(site.run("status", "--json"))
    assert (status["documents"], status["chunks"], len(status["runs"])) == (1, 1, 1)
    assert status["runs"][0]["exit"] == 0


def test_the_plan_is_the_bill_of_the_run_that_follows(site: Site) -> None:
    for number in range(5):
        site.write(f"{number}.md", f"# {number}\n\n" + english(80, seed=number))
    planned = json_of(site.run("plan", str(site.corpus), "--json", DASHSCOPE_API_KEY=""))
    assert site.simulator.books.requests == 0
    assert not site.lake.exists()
    report = json_of(site.run("ingest", str(site.corpus), "--json"))
    assert planned["documents"] == report["documents"]
    assert planned["chunks"] == report["chunks"]
    assert planned["estimate"]["tokens"] == report["tokens"]["billed"]
    assert planned["estimate"]["requests"] == report["requests"]["sent"]
    assert planned["estimate"]["cost_cny"] == pytest.approx(report["cost_cny"])


def test_a_plan_counts_a_text_once_and_none_that_the_lake_has(site: Site) -> None:
    text = english(300, seed=1)
    site.write("a.md", text)
    site.write("b.md", text)
    site.write("c.pdf", b"no PDF")  # a part of rejects alone
    first = json_of(site.run("plan", str(site.corpus), "--json"))["chunks"]
    assert first["embedded"] == first["reused"] == first["total"] / 2
    site.run("ingest", str(site.corpus))
    site.write("d.md", text)
    second = json_of(site.run("plan", str(site.corpus), "--json"))
    assert (second["chunks"]["embedded"], second["chunks"]["reused"]) == (0, first["embedded"])
    assert second["estimate"]["requests"] == 0


def test_the_budget_is_a_hard_cap_and_two_runs_cost_what_one_would(site: Site) -> None:
    for number in range(30):
        site.write(f"{number}.md", f"# {number}\n\n" + english(60, seed=number))
    whole = json_of(site.run("plan", str(site.corpus), "--json"))["estimate"]
    cap = whole["cost_cny"] / 2
    first = site.run("ingest", str(site.corpus), "--max-cny", str(cap), "--json")
    assert first.returncode == 4
    assert 0 < json_of(first)["cost_cny"] <= cap
    second = site.run("ingest", str(site.corpus), "--json")
    assert second.returncode == 0
    assert json_of(first)["tokens"]["billed"] + json_of(second)["tokens"]["billed"] == whole["tokens"]
    site.check()


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; sys.argv = ['millrace', 'ingest', '--help']\n"
        "from millrace.flows.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as done: assert done.code == 0\n"
        "heavy = {'prefect', 'pymilvus', 'openai', 'pyarrow', 'numpy', 'pydantic', 'sklearn', 'pypdf', 'tiktoken', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=30, check=True
    )
    assert "SOURCE" in done.stdout
    assert done.stderr.strip() == "[]"


HOSTILE = "\x1b]0;owned\x07\x1b[2Jspare handle\x9b31m"


def test_no_document_and_no_name_commands_the_terminal(site: Site) -> None:
    """Escape sequences of a text, a title or a file's name reached the terminal from search, rejects and errors."""
    site.write("a\x1b[31m.md", f"# Title \x1b[5m\n\nThe {HOSTILE} hangs there.\n\n" + english(20))
    site.write("b\x1b[31m.txt", b"")
    outputs = [
        site.run("ingest", str(site.corpus)),
        site.run("search", "where is the spare handle"),
        site.run("rejects", "list"),
        site.run("verify", str(site.corpus)),
        site.run("search", "spare handle", "--json"),
        site.run("rejects", "list", "--json"),
        site.run("ingest", str(site.corpus / "gone\x1b[31m")),
        site.run("ingest", str(site.corpus), "--set", "chunking.\x1b[31m=1"),
    ]
    for done in outputs:
        assert [c for c in done.stdout + done.stderr if (c < " " and c not in "\n\t") or "\x7f" <= c < "\xa0"] == []
    assert "␛[31m.md" in outputs[1].stdout
    assert json_of(outputs[4])["hits"][0]["source"].endswith("a\x1b[31m.md")


def test_coloured_passages_do_not_command_the_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    hit = SearchHit("1", 0.5, 0.5, None, f"a{HOSTILE}.md", HOSTILE, None, None, (HOSTILE,), f"The {HOSTILE} hangs.", {})
    print_coloured(SearchResult("spare handle", (hit,), False, "cosine", "cosine", (f"warning: {HOSTILE}",), 0, 0.0))
    shown = capsys.readouterr().out
    assert "\x1b]0;" not in shown
    assert "\x1b[2J" not in shown
    assert "\x9b" not in shown
    assert "spare handle" in shown


def test_a_key_that_the_provider_echoes_is_shown_and_kept_nowhere(site: Site) -> None:
    """Masking knew two shapes; a key of any other, quoted by the provider, was logged and kept in the timeline."""
    key = "c0ffee/of+another==shape"
    site.write("a.md", "# A\n\n" + english(20))
    for arguments in (["--json"], ["--log-format", "json"], []):
        done = site.run("ingest", str(site.corpus), *arguments, DASHSCOPE_API_KEY=key)
        assert done.returncode == 1
        assert key not in done.stdout + done.stderr
    retained = [path for path in site.folder.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    assert retained == []
