"""What a collection was made by: remembered beside it in the lake, gone on with, and not changed without a word.

A key that the user has not set is taken from there before it is taken from the defaults, so that every command meets
the collection as it is. Another embedding or chunking embeds every document again and replaces every row; a command
that would do so refuses, unless it was asked for.

The default of provider `local` is another for lakes that have vectors of its earlier one, so its model is always named.

A lake of an earlier version remembers nothing; there the last run that filled the collection says it, or else the
embedding space that most of its documents are in.
"""

from collections.abc import Mapping
from typing import Any

from millrace.configs.settings import Settings
from millrace.flows.wiring.embedding_model import load_model
from millrace.flows.wiring.lake_location import lake_path
from millrace.tasks.embedding import LEXICAL_MODELS
from millrace.tasks.errors import ConfigurationError, ExitCode, LakeError, LakeUnreachable
from millrace.tasks.lake import Lake

Values = Mapping[str, Mapping[str, Any]]
"""Settings by section and key."""

_SHAPE_KEYS = (
    "content_max_bytes", "metric", "index", "hnsw_m", "hnsw_ef_construction", "ivf_nlist", "scalar_fields",
    "partition_key", "hybrid", "analyzer",
)  # fmt: skip

REMEMBERED: Mapping[str, tuple[str, ...]] = {
    "embedding": (
        "provider", "api", "model", "region", "base_url", "dimensions", "ask_dimensions", "text_type", "instruct",
        "tokenizer", "api_key_env",
    ),
    "chunking": ("max_tokens", "overlap_tokens", "sections", "context"),
    "milvus": _SHAPE_KEYS,
}  # fmt: skip
"""What the rows of a collection, and its shape, are made by, and with which it can be searched."""

_FILLING = frozenset({"ingest", "retry", "repair", "rebuild", "switch"})
_WHOLE = frozenset({ExitCode.DONE, ExitCode.REJECTS})
_RUNS_CONSIDERED = 100


def with_remembered(settings: Settings, *, of: str = "") -> Settings:
    """The settings with what the lake remembers of their collection, or of the collection `of`, in place of defaults.

    Of an embedding that is to be replaced by that of another provider nothing else is taken.

    Raises:
        ConfigurationError: The lake's address is none, or what is remembered and what is set cannot go together.
        LakeError: The lake cannot be read.
    """
    values = remembered_values(settings, of=of)
    embedding = values.get("embedding", {})
    lexical = next((name for name in LEXICAL_MODELS if name == embedding.get("model")), "")
    if "embedding.provider" in settings.given and embedding.get("provider") != settings.embedding.provider:
        values = {**values, "embedding": {}}
    elif "embedding.model" in settings.given and embedding.get("model") != (settings.embedding.model or lexical):
        of_model = ("dimensions", "tokenizer", "text_type", "instruct")
        values = {**values, "embedding": {key: value for key, value in embedding.items() if key not in of_model}}
    chosen = {
        section: {key: value for key, value in keys.items() if f"{section}.{key}" not in settings.given}
        for section, keys in values.items()
    }
    settings = settings.with_values(chosen, given=False) if any(chosen.values()) else settings
    if settings.embedding.provider == "local" and not settings.embedding.model:
        model = lexical or _default_model(settings)
        settings = settings.with_values({"embedding": {"model": model}}, given=False)
    return settings


def _default_model(settings: Settings) -> str:
    """The model of provider `local` where nothing names one: that of which the lake has vectors, or else the newest."""
    vectors = Lake.open(lake_path(settings), settings.milvus.collection, read_only=True).vectors_dir
    spaces = [folder.name for folder in vectors.iterdir()] if vectors.is_dir() else []
    return next((m for m in LEXICAL_MODELS if any(s.startswith(f"{m}-") for s in spaces)), LEXICAL_MODELS[0])


def remembered_values(settings: Settings, *, of: str = "") -> Values:
    """What the lake remembers of the collection of the settings, or of the collection `of`; empty where it has no row.

    Raises ConfigurationError, LakeError as `with_remembered`.
    """
    lake = Lake.open(lake_path(settings), of or settings.milvus.collection, read_only=True)
    if not lake.collection_dir.is_dir() or not _has_documents(lake):
        return {}
    values = _known(lake.settings.read()) or _of_last_run(lake) or _of_documents(lake)
    # A collection of a version that remembers no such keys has its sections apart, and no context.
    return {**values, "chunking": {"sections": "apart", "context": "none", **values.get("chunking", {})}}


def require_same_embedding(settings: Settings) -> Settings:
    """The settings as `with_remembered`, for a command that embeds documents.

    Raises ConfigurationError when they would embed those of the collection anew, and `embedding.allow_change` is not
    set; and as `with_remembered`.
    """
    chosen = with_remembered(settings)
    refusal = "" if settings.embedding.allow_change else why_refused(settings)
    if refusal:
        raise ConfigurationError(refusal)
    return chosen


def why_refused(settings: Settings) -> str:
    """What is other than when the collection was made, and both ways on; "" where its rows would stay as they are.

    Raises ConfigurationError, LakeError as `with_remembered`.
    """
    name, values, chosen = settings.milvus.collection, remembered_values(settings), with_remembered(settings)
    if not values:
        return _why_another_space(chosen)
    changed = _differences(settings.with_values(values), chosen)
    if "embedding" not in values and (refusal := _why_another_space(chosen)):
        return refusal
    if not changed:
        return ""
    before = [f"{key}={was}" for key, (was, _) in changed.items()]
    now = [f"{key}={is_now}" for key, (_, is_now) in changed.items()]
    return (
        f"the rows of collection {name} were made with {', '.join(before)}, and the settings say {', '.join(now)}: "
        "every document would be embedded again, and every row replaced. To go on as before leave those out (of file, "
        f"environment and --set), or say --set {' --set '.join(before)}. To change them look at the price with "
        "`millrace plan`, and run `millrace ingest --change-embedding`; or fill another collection, --set "
        f"milvus.collection={name}_2, and let searches use it with `millrace switch`"
    )


def _why_another_space(settings: Settings) -> str:
    """As `why_refused`, where nothing but the documents says what the collection was made by."""
    lake = Lake.open(lake_path(settings), settings.milvus.collection, read_only=True)
    spaces, mine = _spaces(lake), load_model(settings).space.name
    if not spaces or mine in spaces:
        return ""
    return (
        f"the documents of collection {lake.collection} are in the embedding space {spaces[0]}, and the settings name "
        f"{mine}: every document would be embedded again, and every row replaced. To go on as before set [embedding] "
        "as it was. To change it look at the price with `millrace plan`, and run `millrace ingest --change-embedding`; "
        f"or fill another collection, --set milvus.collection={lake.collection}_2, and let searches use it with "
        "`millrace switch`"
    )


def remember(lake: Lake, settings: Settings, *, has_shape: bool) -> None:
    """Have the lake remember the settings of its collection, durably.

    Those of its shape in Milvus only with `has_shape`: when it is in Milvus with it, or where nothing is known yet.
    Raises LakeError.
    """
    before = lake.settings.read()
    values = settings.model_dump(mode="json", include={section: set(keys) for section, keys in REMEMBERED.items()})
    if not has_shape and "milvus" in before and _has_documents(lake):
        values["milvus"] = before["milvus"]
    lake.settings.save(values)


def remember_shape(lake: Lake, settings: Settings) -> None:
    """Have the lake remember the shape that its collection has been made in, durably. Raises LakeError."""
    before = _known(lake.settings.read()) or _of_last_run(lake) or _of_documents(lake)
    shape = settings.model_dump(mode="json", include={"milvus": set(_SHAPE_KEYS)})
    lake.settings.save({**before, **shape})


def _has_documents(lake: Lake) -> bool:
    try:
        return lake.manifest.has_rows()
    except LakeUnreachable:
        raise
    except LakeError:  # damaged, and therefore not empty
        return True


def _known(values: Mapping[str, Any]) -> Values:
    """Of `values`, which anybody may have edited, the keys that are remembered."""
    known = {
        section: {key: values[section][key] for key in keys if key in values[section]}
        for section, keys in REMEMBERED.items()
        if isinstance(values.get(section), Mapping)
    }
    embedding = known.get("embedding", {})
    if (embedding.get("provider"), embedding.get("model")) == ("local", ""):
        embedding["model"] = LEXICAL_MODELS[-1]  # the default then was not yet remembered by its name
    return known


def _of_last_run(lake: Lake) -> Values:
    """The settings of the last run that filled the collection to its end; or else of the last that tried to."""
    filling = [
        (run.exit in _WHOLE, _known(run.settings))
        for run in lake.runs.newest(_RUNS_CONSIDERED)
        if run.command in _FILLING and _collection_of(run.settings) == lake.collection
    ]
    return next((values for is_whole, values in filling if is_whole), filling[0][1] if filling else {})


def _collection_of(settings: Mapping[str, Any]) -> object:
    milvus = settings.get("milvus")
    return milvus.get("collection") if isinstance(milvus, Mapping) else None


def _of_documents(lake: Lake) -> Values:
    """The embedding of most documents, as far as the name of its endpoint tells it."""
    space = next((found for name in _spaces(lake) if (found := lake.space_named(name))), None)
    if space is None or space.endpoint not in {"local", "dashscope", "iflytek"}:
        return {}
    embedding: dict[str, object] = {
        "provider": space.endpoint,
        "model": space.model,
        "dimensions": space.dimensions,
    }
    if space.text_type:
        embedding |= {"api": "native", "text_type": space.text_type, "instruct": space.instruct}
    return {"embedding": embedding}


def _spaces(lake: Lake) -> list[str]:
    """The names of the spaces that documents with rows are in, that of most first; none where nobody can say."""
    try:
        return [name for name, _ in lake.manifest.spaces().most_common()]
    except LakeUnreachable:
        raise
    except LakeError:
        return []


def _differences(before: Settings, now: Settings) -> dict[str, tuple[object, object]]:
    """What of the two makes other rows, by key: as it was, and as it is."""
    was, now_is = load_model(before), load_model(now)
    changed: dict[str, tuple[object, object]] = {}
    if was.space != now_is.space:
        changed = {
            "embedding.provider": (before.embedding.provider, now.embedding.provider),
            "embedding.base_url": (before.embedding.base_url, now.embedding.base_url),
            "embedding.model": (was.space.model, now_is.space.model),
            "embedding.dimensions": (was.space.dimensions, now_is.space.dimensions),
            "embedding.api": (before.embedding.api, now.embedding.api),
            "embedding.text_type": (before.embedding.text_type, now.embedding.text_type),
            "embedding.instruct": (before.embedding.instruct, now.embedding.instruct),
            "milvus.hybrid": (before.milvus.hybrid, now.milvus.hybrid),
        }
    changed |= {
        "embedding.tokenizer": (was.spec.tokenizer, now_is.spec.tokenizer),
        "chunking.max_tokens": (before.chunking.max_tokens, now.chunking.max_tokens),
        "chunking.overlap_tokens": (before.chunking.overlap_tokens, now.chunking.overlap_tokens),
        "chunking.sections": (before.chunking.sections, now.chunking.sections),
        "chunking.context": (before.chunking.context, now.chunking.context),
        "milvus.content_max_bytes": (before.milvus.content_max_bytes, now.milvus.content_max_bytes),
    }
    return {key: pair for key, pair in changed.items() if pair[0] != pair[1]}
