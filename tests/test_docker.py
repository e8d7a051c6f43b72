"""The files for containers fit the program: settings, commands, users. They are not run here."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import PREFIX, Settings
from docker.chroot_build import instructions
from workers.cli import COMMANDS

DOCKER = Path(__file__).parent.parent / "docker"
SETTINGS = {PREFIX + item.name.upper() for item in fields(Settings)}
COMPOSE = ["compose.yaml", "compose.scaled.yaml"]


def services(name: str) -> dict[str, dict[str, Any]]:
    """The services of a compose file that run our image."""
    found = yaml.safe_load((DOCKER / name).read_text())["services"]
    return {key: value for key, value in found.items() if value.get("image") == "saetrack"}


def containers() -> dict[str, dict[str, Any]]:
    """Pod templates of the example for Kubernetes, by the name of their container."""
    documents = yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text())
    pods = [
        each["spec"]["template"]["spec"] for each in documents if "template" in each.get("spec", {})
    ]
    return {pod["containers"][0]["name"]: pod for pod in pods}


@pytest.mark.parametrize(
    "name", ["Dockerfile", *COMPOSE, "compose.gpu.yaml", "kubernetes.yaml", "scaled.env.example"]
)
def test_settings_exist_and_no_password_is_written_down(name: str) -> None:
    text = (DOCKER / name).read_text()
    assert set(re.findall(r"\bSAETRACK_[A-Z_]+", text)) <= SETTINGS
    for value in re.findall(
        r"^[ ]*\w*(?:PASSWORD|SECRET_KEY|ACCESS_KEY|AUTH)[:=][ ]*(.*)", text, re.M
    ):
        assert value in {"", "SECRET", "saetrack"} or value.startswith("${"), value


@pytest.mark.parametrize("name", COMPOSE)
def test_services_run_commands_that_exist_and_may_write_little(name: str) -> None:
    ours = services(name)
    assert ours
    for service in ours.values():
        assert service.get("command", ["serve"])[0] in COMMANDS
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_web_and_workers_have_the_same_settings() -> None:
    ours = services("compose.scaled.yaml")
    assert set(ours) == {"migrate", "web", "worker"}
    assert ours["web"]["environment"] == ours["worker"]["environment"]
    assert ours["web"]["environment"] == ours["migrate"]["environment"]


def test_every_password_of_the_compose_file_is_in_the_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?\}", (DOCKER / "compose.scaled.yaml").read_text()))
    given = re.findall(r"^(\w+)=", (DOCKER / "scaled.env.example").read_text(), re.MULTILINE)
    assert wanted == set(given)


def test_pods_are_not_root() -> None:
    pods = containers()
    assert set(pods) == {"migrate", "web", "worker"}
    for pod in pods.values():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["args"][0] in COMMANDS
        assert container["envFrom"] == [{"secretRef": {"name": "saetrack"}}]
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/data"}
        assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "data"}


def test_the_image_is_not_root_and_copies_what_exists() -> None:
    steps = instructions((DOCKER / "Dockerfile").read_text())
    assert ("USER", "10001") in steps
    assert steps.index(("USER", "10001")) > max(
        at for at, (word, _) in enumerate(steps) if word == "RUN"
    )
    for word, rest in steps:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (DOCKER.parent / source).exists(), source
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["saetrack"]
    assert json.loads(dict(steps)["CMD"])[0] in COMMANDS
