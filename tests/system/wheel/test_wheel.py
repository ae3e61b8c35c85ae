"""The wheel is whole: one importable name, no checkout needed, and a user's own folders of any name beside it."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.flows.prose import chinese, english
from tests.flows.site import ROOT

pytestmark = pytest.mark.timeout(400)

PLACES = ("--set", "lake.path=lake", "--set", "milvus.uri=milvus.db")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and what it depends on from the one that tests run in."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = ["install", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", str(wheel)]
    run([str(python), "-m", "pip", *install])
    (site,) = folder.glob("lib/python*/site-packages")
    (here,) = {str(Path(pytest.__file__).parents[1])}  # a path alone: the editable install's own entry is not followed
    (site / "dependencies.pth").write_text(f"{here}\n")
    return python


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=350, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return done  # type: ignore[no-any-return]


def environment(**more: str) -> dict[str, str]:
    retained = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MILLRACE_", "COV_"))
    }
    return retained | more


def test_one_importable_name_and_all_that_belongs_to_it(wheel: Path) -> None:
    assert wheel.stat().st_size < 3_000_000
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"millrace"}
    assert {
        "millrace/py.typed",
        "millrace/tasks/documents/pdf/cid/GB1.xz",
        "millrace/data/qwen.tiktoken",
        "millrace/configs/models.toml",
        "millrace/configs/default.toml",
        "millrace/flows/commands/report/page.html",
    } <= set(names)
    assert [name for name in names if "/sample/" in name or "/pictures/" in name or "/tests/" in name] == []


def test_the_wheel_from_the_sdist_is_that_of_the_checkout(built: Path, wheel: Path, tmp_path: Path) -> None:
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)])
    (direct,) = tmp_path.glob("*.whl")
    contents = [{entry.filename: entry.CRC for entry in zipfile.ZipFile(path).infolist()} for path in (wheel, direct)]
    assert contents[0] == contents[1]
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {
        "src/millrace/flows/ingest.py",
        "src/millrace/configs/default.toml",
        "LICENSE",
        "README.md",
        "data/NOTICE.md",
    } <= names


def test_it_works_in_a_project_with_folders_of_its_own_names(python: Path, tmp_path: Path) -> None:
    """`import flows`, `tasks`, `configs` and `data` are what every Prefect user has; reading processes start here too."""
    project = tmp_path / "project"
    for name in ("flows", "tasks", "configs", "data", "documents", "lake_tools"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text(f"raise RuntimeError('{name} of the project was picked up')\n")
    (project / "docs").mkdir()
    for number in range(4):
        (project / "docs" / f"{number}.md").write_text(f"# {number}\n\n" + english(30, seed=number) + chinese(20))
    (project / "pipeline.py").write_text(
        "import millrace, os, sys\n"
        "if __name__ == '__main__':\n"
        "    print(millrace.__file__)\n"
        "    run = millrace.ingest(['docs'], overrides=['lake.path=lake2', 'milvus.uri=m2.db', 'documents.workers=2'])\n"
        "    print(run.documents.added, run.exit_code)\n"
    )
    command = str(python.parent / "millrace")
    ingested = run([command, "ingest", "docs", *PLACES, "--set", "documents.workers=2"], cwd=project, env=environment())
    assert "4 added" in ingested.stdout
    assert "all agree" in run([command, "verify", "docs", *PLACES], cwd=project, env=environment()).stdout
    script = run([str(python), "pipeline.py"], cwd=project, env=environment(PYTHONPATH=str(project))).stdout.split()
    assert Path(script[0]).is_relative_to(python.parents[1])
    assert script[1:] == ["4", "0"]


def test_the_first_steps_work_from_the_wheel_in_an_empty_folder(python: Path, tmp_path: Path) -> None:
    command = str(python.parent / "millrace")
    clean = {name: value for name, value in environment().items() if not name.startswith("PREFECT_")}
    written = run([command, "init"], cwd=tmp_path, env=clean).stdout
    assert written.startswith("wrote millrace.toml: ")
    healthy = run([command, "doctor", "--offline"], cwd=tmp_path, env=clean)
    assert healthy.stderr == "settings from ./millrace.toml\n"
    assert "nothing stands in the way" in healthy.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["millrace.toml"]


def test_the_tests_of_the_command_and_the_interface_pass_against_the_wheel(python: Path) -> None:
    chosen = "json_is_all or exit_code_3 or missing_key or whole_way or event_loop_runs"
    files = ["tests/flows/cli/test_main.py", "tests/flows/test_api.py"]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files, "-k", chosen]
    assert "passed" in run(command, cwd=ROOT, env=environment()).stdout
    where = run([str(python), "-c", "import millrace; print(millrace.__file__)"], cwd=ROOT, env=environment()).stdout
    assert Path(where.strip()).is_relative_to(python.parents[1])
