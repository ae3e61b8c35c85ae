from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.simulator.faults import Damage, FaultRule, fault_of, scripted
from tests.simulator.refusals import Reason


def test_every_tenth_answer_is_every_tenth() -> None:
    rule = FaultRule(fault=Reason.INTERNAL_ERROR, every=10)
    assert [number for number in range(1, 41) if rule.falls_on(number, 0.0)] == [10, 20, 30, 40]


def test_a_share_is_drawn_alike_each_time_and_otherwise_with_another_seed() -> None:
    def drawn(seed: int) -> list[int]:
        rule = FaultRule(fault=Damage.RESET, share=0.1, seed=seed)
        return [number for number in range(1, 2001) if rule.falls_on(number, 0.0)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert 150 < len(drawn(1)) < 250


def test_a_stretch_of_time_begins_and_ends() -> None:
    rule = FaultRule(fault=Reason.INSUFFICIENT_QUOTA, from_s=5, until_s=65)
    assert [rule.falls_on(1, elapsed) for elapsed in (4.9, 5.0, 64.9, 65.0)] == [False, True, True, False]


def test_conditions_given_together_must_all_hold() -> None:
    rule = FaultRule(fault=Damage.HANG, every=2, from_s=1)
    assert [rule.falls_on(2, 0.0), rule.falls_on(3, 1.0), rule.falls_on(4, 1.0)] == [False, False, True]


def test_a_script_is_played_once_in_its_order() -> None:
    rules = scripted(None, Reason.MODEL_UNAVAILABLE, Damage.RESET)
    assert [fault_of(rules, number, 0.0) for number in range(1, 6)] == [
        None,
        Reason.MODEL_UNAVAILABLE,
        Damage.RESET,
        None,
        None,
    ]


def test_the_first_rule_that_fires_wins() -> None:
    rules = (FaultRule(fault=Damage.DROP, every=2), FaultRule(fault=Damage.HANG, share=1))
    assert [fault_of(rules, number, 0.0) for number in (1, 2)] == [Damage.HANG, Damage.DROP]


def test_a_rule_that_does_not_say_when_is_refused() -> None:
    with pytest.raises(ValidationError, match="say when"):
        FaultRule(fault=Damage.HANG)


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValidationError):
        FaultRule.model_validate({"fault": "gremlins", "every": 2})
