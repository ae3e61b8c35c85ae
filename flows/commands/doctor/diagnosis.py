"""All checks, one after the other, and what they found."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from millrace.configs.settings import Settings, load_settings
from millrace.flows.commands.doctor import configuration, installation, lake, milvus, provider, surroundings
from millrace.flows.commands.doctor.finding import Case, Check, Finding, Skip, State
from millrace.flows.monitoring.result import Result
from millrace.tasks.errors import ConfigurationError, ExitCode, MillraceError

_FILES = (installation, configuration, provider, milvus, lake, surroundings)
CHECKS = {one.name: one for file in _FILES for one in vars(file).values() if isinstance(one, Check)}
"""Every check, in the order in which they are made and shown: that of the files, and in a file that of its lines."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: its name, and what it found. `seconds` is how long it looked; the others are those of `Finding`."""

    name: str
    state: State
    said: str
    mend: str
    details: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Diagnosis(Result):
    """What every check found; `failed` names those that stand in the way."""

    offline: bool
    checks: tuple[CheckResult, ...]
    failed: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 when anything stands in the way."""
        return ExitCode.STOPPED if self.failed else ExitCode.DONE

    def lines(self) -> list[str]:
        """One line a check, its details below it, and below what fails the command that mends it."""
        width = max(len(one.name) for one in self.checks)
        lines = []
        for one in self.checks:
            lines.append(f"{one.state:7}  {one.name:{width}}  {one.said}")
            lines += [f"{'':{width + 11}}{detail}" for detail in one.details]
            if one.mend:
                lines.append(f"{'':{width + 11}}$ {one.mend}")
        if not self.failed:
            return [*lines, "nothing stands in the way" + (", as far as can be seen offline" if self.offline else "")]
        return [*lines, f"in the way: {', '.join(self.failed)}"]


def diagnose(
    settings: Settings | None = None,
    *,
    config: Path | None = None,
    overrides: Iterable[str] = (),
    offline: bool = False,
    skip: Collection[str] = (),
) -> Diagnosis:
    """What every check but those in `skip` finds, of `settings` or of the file `config`; changes nothing.

    With `offline` nothing outside this machine is asked, and no Milvus is opened. Raises ConfigurationError for a name
    in `skip` that no check has, and for both `settings` and `config`.
    """
    if unknown := sorted(set(skip) - CHECKS.keys()):
        raise ConfigurationError(f"there is no check {', '.join(unknown)}; the checks are: {', '.join(CHECKS)}")
    case = _case(settings, config, overrides, offline=offline)
    results = tuple(_made(one, case) for name, one in CHECKS.items() if name not in skip)
    failed = tuple(one.name for one in results if one.state == "fails")
    return Diagnosis(offline=offline, checks=results, failed=failed)


def _case(settings: Settings | None, config: Path | None, overrides: Iterable[str], *, offline: bool) -> Case:
    if settings is not None and config is not None:
        raise ConfigurationError("give settings, or the file to load them from (config), not both")
    file = str(config) if config is not None else ""
    try:
        given = load_settings(config, overrides) if settings is None else settings.with_overrides(overrides)
    except ConfigurationError as error:
        return Case(None, problem=str(error), config=file, offline=offline)
    return Case(given, config=file, offline=offline)


def _made(one: Check, case: Case) -> CheckResult:
    begun = time.monotonic()
    try:
        found = one.look(case)
    except Skip as reason:
        found = Finding("skipped", str(reason))
    except MillraceError as error:
        found = Finding("fails", str(error))
    return CheckResult(one.name, found.state, found.said, found.mend, found.details, round(time.monotonic() - begun, 3))
