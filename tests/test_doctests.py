"""Examples in docstrings are what the code does."""

import doctest
import importlib
import pkgutil

import pytest

import millrace

MODULES = [
    module.name
    for module in pkgutil.walk_packages(millrace.__path__, "millrace.")
    if module.name.startswith(("millrace.tasks.", "millrace.flows.", "millrace.configs."))
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert sum(bool(found.examples) for name in MODULES for found in finder.find(importlib.import_module(name))) > 30
