"""`millrace init`, and the `./millrace.toml` that every command finds."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from millrace.configs.settings import load_settings
from millrace.flows.cli.main import millrace
from millrace.tasks.errors import ConfigurationError, RunStopped


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands are typed."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(millrace, arguments)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], {"embedding.provider": "local", "milvus.uri": "milvus.db"}),
        (
            ["--provider", "dashscope", "--milvus", "http://127.0.0.1:19530", "--lake", "/srv/lake"],
            {
                "embedding.provider": "dashscope",
                "embedding.model": "text-embedding-v4",
                "milvus.uri": "http://127.0.0.1:19530",
                "lake.path": "/srv/lake",
            },
        ),
        (
            ["--provider", "openai", "--model", "mine", "--base-url", "http://127.0.0.1:8080/v1", "--dimensions", "96"],
            {"embedding.model": "mine", "embedding.base_url": "http://127.0.0.1:8080/v1", "embedding.dimensions": 96},
        ),
        (["--provider", "iflytek", "--model", 'a"b', "--dimensions", "1024"], {"embedding.model": 'a"b'}),
    ],
)
def test_the_file_loads_as_what_was_asked_for(folder: Path, arguments: list[str], wanted: dict[str, object]) -> None:
    done = run("init", *arguments)
    assert done.exit_code == 0, done.output
    settings = load_settings(folder / "millrace.toml", environment={}).model_dump()
    got = {key: settings[key.partition(".")[0]][key.partition(".")[2]] for key in wanted}
    assert got == wanted


def test_it_says_what_it_wrote_and_what_comes_next() -> None:
    done = run("init", "--provider", "dashscope")
    assert done.stdout.startswith("wrote millrace.toml: text-embedding-v4 of dashscope")
    assert "export DASHSCOPE_API_KEY=" in done.stdout
    assert "millrace doctor" in done.stdout
    written = json.loads(run("init", "--force", "--json").stdout)
    assert (written["path"], written["provider"], written["key_variable"]) == ("millrace.toml", "local", "")


def test_a_file_that_is_there_stays_without_force(folder: Path) -> None:
    (folder / "millrace.toml").write_text("# mine\n")
    done = run("init")
    assert isinstance(done.exception, ConfigurationError)
    assert "--force" in str(done.exception)
    assert (folder / "millrace.toml").read_text() == "# mine\n"
    assert run("init", "--force").exit_code == 0
    assert "[embedding]" in (folder / "millrace.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--provider", "nobody"], "'dashscope'"),
        (["--provider", "openai"], "embedding.model is empty"),
        (["--provider", "dashscope", "--model", "text-embedding-v9"], "text-embedding-v4"),
        (["--milvus", "localhost:19530"], "http://host:19530"),
        (["--milvus", "http://root:secret@host:19530"], "milvus.token_env"),
        (["--lake", "ftp://somewhere/lake"], "lake.path"),
    ],
)
def test_what_cannot_be_right_is_not_written(folder: Path, arguments: list[str], word: str) -> None:
    done = run("init", *arguments)
    assert isinstance(done.exception, ConfigurationError)
    assert word in str(done.exception)
    assert not (folder / "millrace.toml").exists()


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")  # where not even root can make a file
    done = run("init")
    assert isinstance(done.exception, RunStopped)
    assert "/proc/millrace.toml cannot be written" in str(done.exception)


def test_every_command_finds_the_file_of_its_folder_and_says_so(folder: Path) -> None:
    (folder / "millrace.toml").write_text('[lake]\npath = "there"\n')
    done = run("status")
    assert done.stderr == "settings from ./millrace.toml\n"
    assert "at there;" in str(done.exception)
    assert "at here;" in str(run("status", "--set", "lake.path=here").exception)
    asked = run("status", "--json")
    assert asked.output == ""  # nothing in the way of JSON, on either stream
    (folder / "other.toml").write_text('[lake]\npath = "elsewhere"\n')
    named = run("status", "--config", "other.toml")
    assert named.stderr == ""
    assert "at elsewhere;" in str(named.exception)


def test_the_environment_comes_before_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "millrace.toml").write_text('[lake]\npath = "there"\n')
    monkeypatch.setenv("MILLRACE_LAKE__PATH", "anywhere")
    assert "at anywhere;" in str(run("status").exception)
