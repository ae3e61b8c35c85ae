"""The Dockerfile and the compose file name only what exists. No Docker is needed, and none was there to try them."""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from millrace.configs.settings import known_keys
from millrace.flows.cli.main import millrace
from millrace.flows.commands.doctor.diagnosis import CHECKS

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    line.split(None, 1)
    for line in re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    if line
]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]


def arguments_of(word: str) -> list[str]:
    return [arguments for instruction, arguments in INSTRUCTIONS if instruction == word]


def parsed(command: list[str]) -> click.Context:
    """The command line as click reads it, which fails for a command or an option that is not there."""
    found = millrace.commands[command[0]]
    return found.make_context(command[0], command[1:])


def test_what_is_copied_is_there_and_not_left_out_of_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    admitted = {line[1:] for line in lines if line.startswith("!")}
    copied = {name for line in arguments_of("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert copied == admitted
    assert [name for name in copied if not (ROOT / name).exists()] == []
    needed = {
        str(path.resolve().relative_to(ROOT)) for path in (ROOT / "src" / "millrace").iterdir() if path.is_symlink()
    }
    assert needed <= copied  # what the package's links lead to
    left_out = [line for line in lines[1:] if not line.startswith("!")]
    assert not any(
        fnmatch.fnmatch(f"data/{name}", line) for name in ("NOTICE.md", "qwen.tiktoken") for line in left_out
    )


def test_it_runs_as_nobody_special_and_its_extras_exist() -> None:
    assert arguments_of("USER") == ["10001"]
    assert [image.partition(" ")[0] for image in arguments_of("FROM")] == ["python:3.11-slim"] * 2
    extras = re.search(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert extras
    assert set(extras[1].split(",")) <= set(
        re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    )


def test_its_health_check_is_a_command_that_exists() -> None:
    (check,) = arguments_of("HEALTHCHECK")
    command = json.loads(check.partition(" CMD ")[2])
    assert command[:2] == ["millrace", "doctor"]
    options = parsed(command[1:]).params
    assert options["offline"]
    assert set(options["skip"]) <= CHECKS.keys()


def test_every_service_has_a_short_image_name_a_health_and_a_port_for_this_machine_only() -> None:
    assert SERVICES.keys() == {"milvus", "prefect", "millrace"}
    for service in SERVICES.values():
        host = service["image"].partition("/")[0] if "/" in service["image"] else ""
        assert not re.search(r"[.:]", host)
        assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []
    assert "healthcheck" in SERVICES["milvus"]
    assert "healthcheck" in SERVICES["prefect"]
    awaited = SERVICES["millrace"]["depends_on"]
    assert {name: how["condition"] for name, how in awaited.items()} == dict.fromkeys(
        ("milvus", "prefect"), "service_healthy"
    )


@pytest.mark.parametrize("service", SERVICES)
def test_volumes_and_configs_that_a_service_names_are_declared(service: str) -> None:
    named = [volume.partition(":")[0] for volume in SERVICES[service].get("volumes", [])]
    assert {name for name in named if re.fullmatch(r"\w+", name)} <= COMPOSE["volumes"].keys()
    assert {config["source"] for config in SERVICES[service].get("configs", [])} <= COMPOSE["configs"].keys()


def test_serve_and_its_settings_exist() -> None:
    assert parsed(SERVICES["millrace"]["command"]).params["sources"]
    variables = [*SERVICES["millrace"]["environment"], *re.findall(r"^.*?(MILLRACE_\w+)=", DOCKERFILE, re.MULTILINE)]
    keys = [
        name.removeprefix("MILLRACE_").lower().replace("__", ".") for name in variables if name.startswith("MILLRACE_")
    ]
    assert keys
    assert set(keys) <= set(known_keys())
    assert yaml.safe_load(COMPOSE["configs"]["etcd"]["content"]).keys() >= {"listen-client-urls"}
