"""millrace: a corpus into rows of a Milvus collection, embedded with Qwen's text-embedding models.

    import millrace

    millrace.ingest(["docs"])
    for hit in millrace.search("how is the sluice opened").hits:
        print(hit.score, hit.source, hit.page_start, hit.content)

The names below are the public interface; what is in the folders beside may change. Each is imported when it is first
used, so that `import millrace`, and with it the command's `--help`, takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace.configs.settings import Settings, load_settings
    from millrace.flows.api import doctor, evaluate, ingest, plan, prune, rebuild, verify
    from millrace.flows.commands.doctor.diagnosis import CheckResult, Diagnosis
    from millrace.flows.commands.evaluate.report import EvaluationResult
    from millrace.flows.commands.plan import Plan
    from millrace.flows.commands.prune import PruneResult
    from millrace.flows.commands.rebuild import RebuildResult
    from millrace.flows.commands.search.result import SearchHit, SearchResult
    from millrace.flows.commands.search.search import asearch, search
    from millrace.flows.commands.verify.report import VerifyResult
    from millrace.flows.monitoring.run_summary import RunSummary
    from millrace.tasks.errors import (
        BudgetReached,
        CollectionError,
        CollectionMissing,
        ConfigurationError,
        ExitCode,
        LakeError,
        LakeUnreachable,
        LeaseHeld,
        MillraceError,
        ProviderStopped,
        RunStopped,
        SourceError,
    )

__all__ = [
    "BudgetReached",
    "CheckResult",
    "CollectionError",
    "CollectionMissing",
    "ConfigurationError",
    "Diagnosis",
    "EvaluationResult",
    "ExitCode",
    "LakeError",
    "LakeUnreachable",
    "LeaseHeld",
    "MillraceError",
    "Plan",
    "ProviderStopped",
    "PruneResult",
    "RebuildResult",
    "RunStopped",
    "RunSummary",
    "SearchHit",
    "SearchResult",
    "Settings",
    "SourceError",
    "VerifyResult",
    "asearch",
    "doctor",
    "evaluate",
    "ingest",
    "load_settings",
    "plan",
    "prune",
    "rebuild",
    "search",
    "verify",
]

_HOMES = {
    "CheckResult": "millrace.flows.commands.doctor.diagnosis",
    "Diagnosis": "millrace.flows.commands.doctor.diagnosis",
    "EvaluationResult": "millrace.flows.commands.evaluate.report",
    "Plan": "millrace.flows.commands.plan",
    "PruneResult": "millrace.flows.commands.prune",
    "RebuildResult": "millrace.flows.commands.rebuild",
    "RunSummary": "millrace.flows.monitoring.run_summary",
    "SearchHit": "millrace.flows.commands.search.result",
    "SearchResult": "millrace.flows.commands.search.result",
    "Settings": "millrace.configs.settings",
    "VerifyResult": "millrace.flows.commands.verify.report",
    "asearch": "millrace.flows.commands.search.search",
    "doctor": "millrace.flows.api",
    "evaluate": "millrace.flows.api",
    "ingest": "millrace.flows.api",
    "load_settings": "millrace.configs.settings",
    "plan": "millrace.flows.api",
    "prune": "millrace.flows.api",
    "rebuild": "millrace.flows.api",
    "search": "millrace.flows.commands.search.search",
    "verify": "millrace.flows.api",
}
"""Where each name is from; the others are errors."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'millrace' has no attribute {name!r}")
        value = getattr(import_module(_HOMES.get(name, "millrace.tasks.errors")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
