"""The metrics of a verification, in a file of their own beside that of the runs (see `prometheus`)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from millrace.configs.settings import MetricsSettings
from millrace.flows.monitoring.prometheus import earlier_value, write_textfile
from millrace.tasks.errors import ExitCode

_LAST_SUCCESS = "millrace_verify_last_success_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class VerifyMetrics(Collector):
    """One verification that is over. `findings`: by kind, those of which there are none as well; `figures`: by name."""

    collection: str
    started: float
    ended: float
    exit_code: int
    last_success: float
    findings: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)

    def collect(self) -> Iterator[Metric]:
        """Every metric."""
        yield self._gauge("millrace_verify_start_timestamp_seconds", "When the verification began.", self.started)
        yield self._gauge("millrace_verify_end_timestamp_seconds", "When it ended, however it did.", self.ended)
        yield self._gauge("millrace_verify_exit_code", "Its exit code: 0 all agree.", self.exit_code)
        yield self._gauge(_LAST_SUCCESS, "When all agreed last; 0 is never.", self.last_success)
        for name, value in self.figures.items():
            what = name.replace("_", " ").capitalize()
            yield self._gauge(f"millrace_verify_{name}", f"{what} that were compared.", value)
        family = GaugeMetricFamily(
            "millrace_verify_findings", "What does not agree, by kind.", labels=["collection", "kind"]
        )
        for kind, count in self.findings.items():
            family.add_metric([self.collection, kind], count)
        yield family

    def _gauge(self, name: str, help_text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, help_text, labels=["collection"])
        family.add_metric([self.collection], value)
        return family


def export_verification(
    settings: MetricsSettings,
    collection: str,
    *,
    started: float,
    exit_code: int,
    findings: Mapping[str, int],
    figures: Mapping[str, float],
) -> None:
    """Write the metrics of a verification that has just ended; a folder that cannot be written is logged.

    `started`: seconds since the epoch.
    """
    path = Path(settings.textfile_dir, f"millrace-{collection}-verify.prom")
    now = time.time()
    succeeded = now if exit_code == ExitCode.DONE else earlier_value(path, _LAST_SUCCESS, at_most=now)
    metrics = VerifyMetrics(collection, started, now, exit_code, succeeded, findings, figures)
    write_textfile(path, metrics)
