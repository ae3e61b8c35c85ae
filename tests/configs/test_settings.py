"""Settings: precedence, refusals that help, and a default file that documents every key."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from millrace.configs.settings import Settings, known_keys, load_settings
from millrace.tasks.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "millrace.toml"
    config.write_text('[chunking]\nmax_tokens = 100\noverlap_tokens = 10\n[lake]\npath = "from-file"\n')
    environment = {"MILLRACE_CHUNKING__MAX_TOKENS": "200", "MILLRACE_LAKE__PATH": "from-environment", "PATH": "/bin"}
    settings = load_settings(config, ["lake.path=from-set"], environment)
    assert settings.lake.path == "from-set"
    assert settings.chunking.max_tokens == 200
    assert settings.chunking.overlap_tokens == 10
    assert settings.milvus.collection == "documents"


def test_the_defaults_are_those_of_the_public_face() -> None:
    settings = load_settings(environment={})
    assert (settings.embedding.provider, settings.chunking.max_tokens, settings.chunking.overlap_tokens) == (
        "local",
        512,
        0,
    )
    assert (settings.milvus.content_max_bytes, settings.milvus.metric, settings.milvus.hnsw_m) == (8192, "COSINE", 16)
    assert settings.milvus.hnsw_ef_construction == 256
    assert settings.sources.max_removed_share == 0.2
    assert settings.budget.max_cny is None
    assert settings.embedding.api_key_env == ""  # the provider's own


def test_the_default_file_has_every_key_with_a_comment() -> None:
    text = (ROOT / "configs" / "default.toml").read_text(encoding="utf-8")
    sections = tomllib.loads(text)
    documented = {f"{section}.{key}" for section, keys in sections.items() for key in keys}
    assert documented | {"budget.max_cny"} == set(known_keys())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("chunking.max_token=5", "did you mean 'chunking.max_tokens'"),
        ("chunk.max_tokens=5", "did you mean 'chunking.max_tokens'"),
        ("max_cny=5", "did you mean 'budget.max_cny'"),
        ("lake.path", "expected section.key=value"),
        ("chunking.max_tokens=0", "greater than or equal to 1"),
        ("chunking.max_tokens=many", "valid integer"),
        ("chunking.overlap_tokens=257", "at most half of max_tokens"),
        ("limits.requests_per_second=nan", "greater than or equal to 0"),
        ("sources.max_removed_share=1.5", "less than or equal to 1"),
        ("embedding.base_url=dashscope.aliyuncs.com", "embedding.base_url"),
        ('sources.include=["a', "not a list"),
    ],
)
def test_a_wrong_override_is_refused_with_help(override: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words.replace("(", r"\(")):
        load_settings(overrides=[override], environment={})


def test_unknown_keys_are_refused_in_the_file_and_in_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "millrace.toml"
    config.write_text("[embeding]\nmodel = 'x'\n")
    with pytest.raises(ConfigurationError, match="did you mean 'embedding'"):
        load_settings(config, environment={})
    config.write_text("[embedding]\nmodell = 'x'\n")
    with pytest.raises(ConfigurationError, match=r"did you mean 'embedding\.model'"):
        load_settings(config, environment={})
    with pytest.raises(ConfigurationError, match=r"MILLRACE_LAKE__PTH.*did you mean 'lake.path'"):
        load_settings(environment={"MILLRACE_LAKE__PTH": "x"})


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    config = tmp_path / "broken.toml"
    config.write_text("[lake\n")
    with pytest.raises(ConfigurationError, match=r"broken\.toml is not valid TOML"):
        load_settings(config, environment={})


def test_lists_are_arrays_or_words_with_commas() -> None:
    assert load_settings(overrides=["sources.include=*.md, *.txt"], environment={}).sources.include == ("*.md", "*.txt")
    assert load_settings(overrides=['sources.include=["a,b", "c"]'], environment={}).sources.include == ("a,b", "c")
    assert load_settings(overrides=["sources.include="], environment={}).sources.include == ()


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(environment={})
    with pytest.raises(ValidationError):
        settings.lake.path = "elsewhere"


@pytest.mark.parametrize(
    "override",
    [
        "milvus.uri=http://root:Milvus1@db:19530",
        "embedding.base_url=https://u:Milvus1@h/v1",
        "rerank.base_url=https://u:Milvus1@h/v1",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(override: str) -> None:
    """Settings are written into run records, where no secret may be."""
    with pytest.raises(ConfigurationError, match=r"carries a user or a password.*_env names") as caught:
        load_settings(overrides=[override], environment={})
    assert "Milvus1" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("embedding.api_key_env", "sk-0123456789abcdef0123"),
        ("embedding.api_key_env", "9f86d081884c7d659a2feaa0c55ad015"),
        ("rerank.api_key_env", "d2hhdCBhIHNlY3JldCB0aGlzIGlz=="),
        ("milvus.token_env", "root:Wq83jd0aKx"),
        ("lake.endpoint", "http://minio:Wq83jd0aKx@127.0.0.1:9000"),
        ("reports.url", "https://u:Wq83jd0aKx@reports.example"),
        ("documents.dask_scheduler", "tcp://u:Wq83jd0aKx@cluster:8786"),
        ("embedding.base_url", "https://host/v1?api_key=Wq83jd0aKx"),
        ("milvus.uri", "http://host:19530?token=Wq83jd0aKx"),
        ("embedding.api_key", "Wq83jd0aKxWq83jd0aKx7"),
        ("embedding.key", "sk-0123456789abcdef0123"),
    ],
)
def test_a_secret_in_a_setting_is_refused_and_not_repeated(key: str, value: str) -> None:
    """Each is a way in which a key was typed where its variable's name, or an address, belongs."""
    secret = "Wq83jd0aKx" if "Wq83jd0aKx" in value else value
    for given in (
        {"overrides": [f"{key}={value}"]},
        {"environment": {f"MILLRACE_{key.replace('.', '__').upper()}": value}},
    ):
        with pytest.raises(
            ConfigurationError, match=re.escape(key.partition(".")[2]) + "|" + key.replace(".", "__").upper()
        ) as caught:
            load_settings(**{"environment": {}, **given})  # type: ignore[arg-type]
        assert secret not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_key_typed_as_an_assignment_is_not_repeated() -> None:
    for typed in ("sk-0123456789abcdef0123", "9f86d081884c7d659a2feaa0c55ad015=", "9f86d081884c7d659a2feaa0c55ad015"):
        with pytest.raises(ConfigurationError, match=r"expected section\.key=value") as caught:
            load_settings(overrides=[typed], environment={})
        assert typed.rstrip("=") not in str(caught.value)


def test_a_path_of_milvus_lite_may_hold_any_character() -> None:
    assert (
        load_settings(overrides=["milvus.uri=/data/a@b/milvus.db"], environment={}).milvus.uri == "/data/a@b/milvus.db"
    )


def test_what_was_set_is_told_from_what_is_a_default(tmp_path: Path) -> None:
    config = tmp_path / "millrace.toml"
    config.write_text("[lake]\npath = 'lake'\n")
    settings = load_settings(config, ["chunking.max_tokens=512"], {"MILLRACE_MILVUS__ALIAS": "live"})
    assert settings.given == {"lake.path", "chunking.max_tokens", "milvus.alias"}
    assert settings.origins == {
        "lake.path": str(config), "chunking.max_tokens": "--set", "milvus.alias": "environment",
    }  # fmt: skip
    over = load_settings(config, ["milvus.alias=new"], {"MILLRACE_MILVUS__ALIAS": "live", "MILLRACE_LAKE__PATH": "x"})
    assert over.origins == {"lake.path": "environment", "milvus.alias": "--set"}  # what comes first
    assert settings.with_overrides(["search.top_n=3"]).given == settings.given | {"search.top_n"}
    assert settings.with_values({"search": {"top_n": 3}}, given=False).given == settings.given


def test_settings_are_made_in_python_from_sections_that_name_what_differs() -> None:
    settings = Settings(embedding={"model": "text-embedding-v3"}, sources={"include": ["*.md"]})
    assert (settings.embedding.model, settings.embedding.provider) == ("text-embedding-v3", "local")
    assert settings.sources.include == ("*.md",)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("body", "body"),
        ("question, answer", "question, answer"),  # a name with a comma, as it always was
        ('["question", "answer"]', ("question", "answer")),
        ('{"*.csv" = "body", "faq/*" = ["q", "a"]}', {"*.csv": "body", "faq/*": ("q", "a")}),
    ],
)
def test_the_text_column_is_one_or_several_or_differs_by_glob(text: str, columns: object) -> None:
    assert load_settings(overrides=[f"documents.text_column={text}"], environment={}).documents.text_column == columns
    environment = {"MILLRACE_DOCUMENTS__TEXT_COLUMN": text}
    assert load_settings(environment=environment).documents.text_column == columns


@pytest.mark.parametrize("text", ["", "[]", '[""]', '{"*.csv" = []}', "[a", "{*.csv = a}"])
def test_a_text_column_that_names_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"documents\.text_column"):
        load_settings(overrides=[f"documents.text_column={text}"], environment={})


def test_signatures_and_representations_do_not_show_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`help(load_settings)` printed the whole environment as a default value."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-not-to-be-shown")
    code = """
import pydoc
from millrace.configs import settings
from millrace.flows.cli import environment
from millrace.flows.wiring import components, lake_location, milvus
for module in (settings, environment, components, lake_location, milvus):
    print(pydoc.render_doc(module))
print(repr(settings.load_settings()), settings.Settings)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "load_settings" in shown
    assert "sk-not-to-be-shown" not in shown
