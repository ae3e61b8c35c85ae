"""The documentation is true: generated pages, examples, links and names are those of the program."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from docs import generate
from millrace.configs.settings import known_keys
from millrace.flows.cli.main import millrace

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMANDS = dict(generate.commands(millrace, "millrace"))

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
REPOSITORY_PATH = re.compile(r"`((?:configs|data|docs|flows|src|tasks|tests)/[\w./-]+\w)(?:::(\w+))?`")


@pytest.fixture(params=PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """What links to a page's headings may end in."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {
        re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()) for heading in headings
    }


def test_the_readme_fits_250_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("path", generate.pages(), ids=lambda path: path.name)
def test_a_generated_page_is_what_the_program_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generate.pages()[path], "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_in_the_reference(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert command.get_short_help_str()
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []
    assert f"## {name}\n" in (ROOT / "docs" / "cli-reference.md").read_text(encoding="utf-8")


def test_the_readme_names_every_command() -> None:
    readme = README.read_text(encoding="utf-8")
    assert [name for name in COMMANDS if name.count(" ") == 1 and f"`{name}" not in readme] == []


@pytest.mark.parametrize("key", known_keys())
def test_every_setting_is_described(key: str) -> None:
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert f"\n| `{key}` |" in settings


def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    sections = {key.partition(".")[0] for key in known_keys()}
    named = re.findall(r"`([a-z]+\.[a-z_]+)`", prose(page))
    files = {"toml", "md", "py", "json", "txt", "css", "yaml", "db", "parquet"}
    keys = [name for name in named if name.partition(".")[0] in sections and name.rpartition(".")[2] not in files]
    assert [key for key in keys if key not in known_keys()] == []


@pytest.mark.timeout(400)
def test_the_tutorial_runs_and_prints_what_it_shows() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    assert generate.with_outputs(text).splitlines() == text.splitlines(), "run `python docs/generate.py --examples`"


@pytest.mark.timeout(400)
def test_every_block_of_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.testing.utilities import prefect_test_harness  # takes seconds

    shutil.copytree(ROOT / "data" / "sample", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith(("MILLRACE_", "PREFECT_API"))]:
        monkeypatch.delenv(variable)
    path = ROOT / "docs" / "python-api.md"
    blocks = [block[2] for block in FENCED.finditer(path.read_text(encoding="utf-8")) if block[1] == "python"]
    assert blocks
    namespace: dict[str, object] = {"__name__": "__main__"}
    with prefect_test_harness(server_startup_timeout=120):
        for block in blocks:
            exec(compile(block, str(path), "exec"), namespace)


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor of each relative link of a page."""
    for target in LINK.findall(prose(path)):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = target.partition("#")
            yield (path.parent / name).resolve() if name else path, anchor


def test_every_relative_link_and_its_anchor_resolve(page: Path) -> None:
    broken = [
        f"{target}#{anchor}"
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]
    assert broken == []


def test_every_page_below_docs_is_in_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"- ([\w/-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(listed) == sorted(
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    )


def test_every_file_and_test_that_a_page_names_exists(page: Path) -> None:
    missing = [
        f"{name}::{test}"
        for name, test in REPOSITORY_PATH.findall(prose(page))
        if "*" not in name
        and not ((ROOT / name).exists() and (not test or f"def {test}(" in (ROOT / name).read_text(encoding="utf-8")))
    ]
    assert missing == []


@pytest.mark.parametrize("page", [path for path in PAGES if path not in generate.pages()], ids=lambda path: path.stem)
def test_text_is_wrapped_at_100_characters(page: Path) -> None:
    long = [line for line in prose(page).splitlines() if len(line) > 100 and not line.startswith(("|", "    ", "!["))]
    assert long == []
