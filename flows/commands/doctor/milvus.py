"""Checks of Milvus: whether it is there, what of its version is untested, and the collection beside the settings."""

import shlex
from pathlib import Path
from urllib.parse import urlsplit

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
    return _beside_settings(case, facts, lake.identity, documents)


def _beside_settings(case: Case, facts: MilvusFacts, identity: str, documents: int) -> Finding:
    """What is to be said of a collection that is there, to the lake `identity` with so many documents in it."""
    name, correct = case.settings.milvus.collection, case.correct
    if facts.differences:
        mend = "millrace rebuild --drop" if documents else correct("milvus.collection", f"{name}_2")
        return Finding("fails", f"{name} has another shape", mend, facts.differences)
    if facts.owners and identity not in facts.owners and case.settings.milvus.claim == "sole":
        said = f"{name} is filled by another lake, {', '.join(sorted(facts.owners))}"
        mend = f"{correct('lake.path', '...')}  # or, if both lakes are to fill it: millrace ingest --share"
        return Finding("fails", said, mend)
    if not facts.owners and not documents:
        said = f"{name} is there, of no lake that is known; if it holds rows, a run refuses it"
        return Finding("note", said, details=("name another milvus.collection, or say --share or --take-over once",))
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
    correction = case.correct("milvus.uri", "http://HOST:19530")
    if urlsplit(case.settings.milvus.uri).hostname in {"127.0.0.1", "localhost", "::1"}:
        return f"docker compose up --detach milvus  # or as it is started here; if it is elsewhere: {correction}"
    return f"{correction}  # or start it there"
