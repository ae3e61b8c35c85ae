"""Checks of what is installed: Python, the packages that millrace requires, and the extras that settings need."""

import platform
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement

from millrace.flows.commands.doctor.finding import Case, Finding, Skip, check, pip
from millrace.tasks.embedding import SEMANTIC_MODEL
from millrace.tasks.milvus import is_lite

_FOR_DEVELOPERS = frozenset({"dev", "docs", "server-tests"})


@check
def python(_case: Case) -> Finding:
    """The interpreter, and which millrace it runs."""
    return Finding("ok", f"{platform.python_version()} at {sys.executable}; millrace {version('millrace')}")


@check
def packages(_case: Case) -> Finding:
    """Whether every package that millrace requires is there, in a version that it allows."""
    needed = [required for required, extra in _requirements() if not extra]
    wrong = {str(_bare(required)): came for required in needed if (came := _what_is_wrong(required))}
    if not wrong:
        return Finding("ok", f"{len(needed)} packages, each in a version that millrace allows")
    named = " ".join(f'"{requirement}"' for requirement in wrong)
    said = "; ".join(f"{requirement}: {came}" for requirement, came in wrong.items())
    return Finding("fails", said, pip(named))


@check
def extras(case: Case) -> Finding:
    """The optional packages: which are there, and whether a setting needs one that is not."""
    missing: dict[str, str] = {}
    there: dict[str, list[str]] = defaultdict(list)
    for required, extra in _requirements():
        if extra and extra not in _FOR_DEVELOPERS:
            came = _what_is_wrong(required)
            there[extra].append(came or f"{required.name} {version(required.name)}")
            if came:
                missing[extra] = f"{required.name}: {came}"
    said = "; ".join(f"{extra}: {', '.join(parts)}" for extra, parts in there.items())
    try:
        needed = dict(_needed(case))
    except Skip:
        needed = {}
    not_installed = [extra for extra in needed if extra in missing]
    if not_installed:
        why = "; ".join(f"{needed[extra]} needs the extra {extra} ({missing[extra]})" for extra in not_installed)
        return Finding("fails", why, pip(f"'millrace[{','.join(not_installed)}]'"))
    return Finding("ok", said or "there are none")


def _needed(case: Case) -> Iterator[tuple[str, str]]:
    """The extras that the settings need, each with the setting."""
    settings = case.settings
    if settings.documents.pdf_engine == "pdfium":
        yield "pdfium", "documents.pdf_engine = pdfium"
    if settings.embedding.model == SEMANTIC_MODEL:
        yield "semantic", f"embedding.model = {SEMANTIC_MODEL}"
    if settings.embedding.tokenizer not in {"", "qwen", "bytes"}:
        yield "tokenizers", "embedding.tokenizer"
    if settings.documents.dask_scheduler:
        yield "dask", "documents.dask_scheduler"
    milvus = settings.milvus
    if milvus.hybrid == "bm25" and milvus.analyzer == "chinese" and is_lite(milvus.uri):
        yield "jieba", "milvus.analyzer = chinese with Milvus Lite"


def _requirements() -> Iterator[tuple[Requirement, str]]:
    """What the installed millrace requires on this machine, each with the extra that it belongs to, or ""."""
    for line in requires("millrace") or ():
        required = Requirement(line)
        if required.marker is None or required.marker.evaluate({"extra": ""}):
            yield required, ""
            continue
        for extra in metadata("millrace").get_all("Provides-Extra", []):
            if required.marker.evaluate({"extra": extra}):
                yield required, extra


def _what_is_wrong(required: Requirement) -> str:
    try:
        came = version(required.name)
    except PackageNotFoundError:
        return "not installed"
    return "" if required.specifier.contains(came, prereleases=True) else f"{came} is installed"


def _bare(required: Requirement) -> str:
    return f"{required.name}{required.specifier}"
