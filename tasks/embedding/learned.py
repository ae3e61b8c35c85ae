"""What one run found out about the account's limits, for the next one."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, slots=True)
class LearnedLimits:
    """The rates that were refused last, a second, for the whole account; 0 where nothing was refused.

    `whole_seconds_s` is for how long the provider was last believed to count in whole seconds (fixed or sliding
    windows) before that was put to the test again; 0 is never.
    """

    requests_per_second: float = 0.0
    tokens_per_second: float = 0.0
    growth_per_s: float = 0.0
    whole_seconds_s: float = 0.0

    def as_values(self) -> dict[str, float]:
        """Plain values, for a file."""
        return asdict(self)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> "LearnedLimits":
        """From what `as_values` gave. Anything else in `values` is no knowledge: it is left out, not an error."""
        found = {field.name: values.get(field.name) for field in fields(cls)}
        return cls(
            **{
                name: float(value)
                for name, value in found.items()
                if isinstance(value, int | float) and math.isfinite(value) and value > 0
            }
        )
