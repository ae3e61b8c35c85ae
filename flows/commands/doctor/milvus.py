"""Checks of Milvus: whether it is there, what of its version is untested, and the collection beside the settings."""

import shlex
from pathlib import Path

from millrace.flows.commands.doctor.finding import Case, Finding, Skip, check, environment
from millrace.flows.wiring.collection_settings import why_refused
from millrace.flows.wiring.lake_location import lake_path
from millrace.flows.wiring.milvus import collection_is_gone, collection_missing, redacted_uri
from millrace.tasks.errors import CollectionError, ConfigurationError, LakeError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import MilvusFacts, is_lite, one_spelling


@check
def milvus(case: Case) -> Finding:
    """Whether Milvus answers, and what of its version no test has run."""
    uri = case.settings.milvus.uri
    try:
        if is_lite(uri):
            return _lite(case, Path(one_spelling(uri)))
        case.need_network()
        case.need_model()
        facts = case.milvus
    except ConfigurationError as error:
        return Finding("fails", str(error), case.correct("milvus.uri", "http://HOST:19530"))
    except CollectionError as error:
        return Finding("fails", str(error), _mend(case, str(error)))
    return _version(facts, f"version {facts.version} at {redacted_uri(case.settings)}")


@check
def collection(case: Case) -> Finding:
    """Whether the collection has the shape, the model and the owner that a run expects."""
    if case.lake_is_remote and case.offline:
        raise Skip("not asked: --offline")
    case.need_model()
    settings, given = case.settings, case.given
    assert given is not None
    name = settings.milvus.collection
    try:
        lake = Lake.open(lake_path(settings), name, read_only=True)
        documents = lake.manifest.read(["chunks"]).num_rows
        refusal = "" if given.embedding.allow_change else why_refused(given)
    except LakeError as error:
        raise Skip("the lake cannot be read") from error
    if refusal:
        return Finding(
            "fails", refusal, "millrace plan SOURCE...  # the price, then: millrace ingest --change-embedding"
        )
    if is_lite(settings.milvus.uri) and collection_is_gone(settings):
        return _missing(case, documents)
    case.need_network()
    try:
        facts = case.milvus
    except (CollectionError, ConfigurationError) as error:
        raise Skip("Milvus cannot be asked") from error
    if not facts.has_collection:
        return _missing(case, documents)
    if facts.differences:
        way = "millrace rebuild --drop" if documents else case.correct("milvus.collection", f"{name}_2")
        return Finding("fails", f"{name} has another shape", way, facts.differences)
    if facts.owners and lake.identity not in facts.owners and settings.milvus.claim == "sole":
        said = f"{name} is filled by another lake, {', '.join(sorted(facts.owners))}"
        return Finding("fails", said, case.correct("lake.path", "..."))
    return Finding("ok", f"{name}, as the settings want it; {documents:,} documents of this lake")


def _lite(case: Case, path: Path) -> Finding:
    where = f"Milvus Lite at {path}"
    if not path.parent.is_dir():
        return Finding(
            "fails", f"{where}: there is no folder {path.parent}", f"mkdir -p {shlex.quote(str(path.parent))}"
        )
    if path.exists() and not path.is_dir():
        said = f"{where}: it is a file, and Milvus Lite 3 keeps its data in a folder"
        return Finding("fails", said, case.correct("milvus.uri", "other.db"))
    if case.offline or not path.exists():
        return Finding("ok", f"{where}; {'not opened: --offline' if path.exists() else 'not there yet'}")
    case.need_model()
    facts = case.milvus
    return _version(facts, f"{where}, release {facts.version}")


def _version(facts: MilvusFacts, said: str) -> Finding:
    return Finding("note", said, details=(facts.untested,)) if facts.untested else Finding("ok", said)


def _missing(case: Case, documents: int) -> Finding:
    if documents:
        return Finding("fails", str(collection_missing(case.settings, documents)), "millrace rebuild")
    return Finding("ok", f"{case.settings.milvus.collection} is not there yet; the first `ingest` makes it")


def _mend(case: Case, message: str) -> str:
    variable = case.settings.milvus.token_env
    if "credentials" in message:
        return f"export {variable}=user:password" + ("" if environment(variable) else "  # it is not set")
    if "another process has it open" in message:
        return case.correct("milvus.uri", "http://HOST:19530")
    return case.correct("milvus.uri", "http://HOST:19530") + "  # or start Milvus there: docker compose up -d milvus"
