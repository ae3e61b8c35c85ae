"""What a check finds, and what it is given to look at."""

import importlib.util
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from millrace.configs.settings import ASSIGNED, ENVIRONMENT, ENVIRONMENT_PREFIX, Settings
from millrace.flows.wiring.collection_settings import with_remembered
from millrace.flows.wiring.embedding_model import Model, load_model
from millrace.flows.wiring.lake_location import lake_path
from millrace.flows.wiring.milvus import look_at_milvus
from millrace.tasks.errors import ConfigurationError, LakeError
from millrace.tasks.lake import ObjectPath
from millrace.tasks.milvus import MilvusFacts

State = Literal["ok", "note", "fails", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: in a line, with details where a line is too short.

    `state`: ok; note, which stands in nobody's way; fails; or skipped, and `said` says why. `mend` is the command that
    mends what fails; a remark behind `#` says what else to do.
    """

    state: State
    said: str
    mend: str = ""
    details: tuple[str, ...] = ()


class Skip(Exception):
    """The check cannot look, for a reason that another check tells, or that the user gave."""


@dataclass(frozen=True)
class Case:
    """What the checks look at. `given` are the settings as the user gave them, None where they cannot be read."""

    given: Settings | None
    problem: str = ""
    config: str = ""
    offline: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings with what the lake remembers, as far as it can be asked."""
        if self.given is None:
            raise Skip("the settings cannot be read")
        if self.lake_is_remote and self.offline:
            return self.given
        try:
            return with_remembered(self.given)
        except LakeError:  # which the check of the lake tells
            return self.given

    @property
    def lake_is_remote(self) -> bool:
        """Whether the lake is in a bucket."""
        if self.given is None:
            raise Skip("the settings cannot be read")
        return isinstance(lake_path(self.given), ObjectPath)

    @cached_property
    def model(self) -> Model:
        """The model of the settings. Raises ConfigurationError, which the check of the model tells."""
        return load_model(self.settings)

    @cached_property
    def milvus(self) -> MilvusFacts:
        """What is at the address of Milvus. Raises ConfigurationError, CollectionError."""
        return look_at_milvus(self.settings, self.model)

    def need_model(self) -> Model:
        """The model; raises Skip where there is none."""
        try:
            return self.model
        except ConfigurationError as error:
            raise Skip("the model is not known") from error

    def need_network(self) -> None:
        """Raise Skip where no network is to be used."""
        if self.offline:
            raise Skip("not asked: --offline")

    def correct(self, key: str, value: str) -> str:
        """The command that sets `key` to `value`, where it was set."""
        origin = self.given.origins.get(key, "") if self.given is not None else ""
        variable = ENVIRONMENT_PREFIX + key.upper().replace(".", "__")
        if origin == ASSIGNED:
            return f"millrace ... --set {key}={value}"
        if origin == ENVIRONMENT or not self.config:
            return f"export {variable}={shlex.quote(value) if ' ' in value else value}"
        section, _, name = key.partition(".")
        return f'"${{EDITOR:-vi}}" {shlex.quote(self.config)}  # [{section}] {name} = "{value}"'


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name. `look` may raise Skip, or a MillraceError, whose message then is what it found."""

    name: str
    look: Callable[[Case], Finding]


def check(look: Callable[[Case], Finding]) -> Check:
    """Make the function a check of its name."""
    return Check(look.__name__.replace("_", " "), look)


def pip(packages: str) -> str:
    """The command that installs packages into the environment that millrace runs in."""
    python = shlex.quote(sys.executable)
    if importlib.util.find_spec("pip"):
        return f"{python} -m pip install {packages}"
    return f"uv pip install --python {python} {packages}"


def environment(variable: str) -> str:
    """The value of an environment variable, "" where it is not set."""
    return os.environ.get(variable, "").strip()
