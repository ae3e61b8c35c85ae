"""What a command hands back: for programs as plain values, for people as lines, for the shell as an exit code."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

from millrace.tasks.errors import ExitCode


class Result:
    """The base of every command's result, a dataclass whose fields are the keys of its JSON object.

    A result that ends badly overrides `error`, `exit_code`, or both.
    """

    __slots__ = ()

    @property
    def error(self) -> str:
        """What stopped the command, "" for nothing; printed on standard error."""
        return ""

    @property
    def exit_code(self) -> int:
        """What the command exits with."""
        return ExitCode.DONE

    def as_json(self) -> dict[str, object]:
        """Plain values, as `--json` prints them."""
        return {name: plain(value) for name, value in values_of(self).items()}

    def lines(self) -> list[str]:
        """The result for people, one statement a line."""
        raise NotImplementedError


def values_of(record: object) -> dict[str, object]:
    """The fields of a dataclass by name, as they are."""
    return {field.name: getattr(record, field.name) for field in fields(record)}  # type: ignore[arg-type]


def plain(value: object) -> object:
    """`value` with dataclasses and mappings as dictionaries, however deep they lie, and sequences as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(one) for name, one in values_of(value).items()}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
