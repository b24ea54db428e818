"""The wheel holds what the source tree holds."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "reconnect_channels"
SHIPPED = ["**/*.py", "**/*.lua", "py.typed", "templates/**/*", "static/**/*"]


def build_wheel(folder: Path) -> Path:
    """A freshly built wheel."""
    source = folder / "source"  # a copy: what an earlier build left beside the sources would get in
    shutil.copytree(PACKAGE, source / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture
def names(tmp_path: Path) -> set[str]:
    """The files in the wheel."""
    with zipfile.ZipFile(build_wheel(tmp_path)) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_and_nothing_else(names: set[str]) -> None:
    files = {path for pattern in SHIPPED for path in PACKAGE.glob(pattern) if path.is_file()}
    expected = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert expected - names == set()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"reconnect_channels"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
