"""What is built is what people install: wheel and sdist, in an empty environment, with the README's first examples."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from support.pages import run_page

ROOT = Path(__file__).parents[2]
DEPENDENCIES = Path(__import__("psutil").__file__).parents[1]


def run(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist, built from what git tracks."""
    folder = tmp_path_factory.mktemp("built")
    tracked = run("git", "ls-files", "-z", cwd=ROOT).split("\0")
    source = folder / "source"
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", ".", cwd=source)
    return folder / "dist"


def test_both_packages_are_in_it_and_nothing_else(built):
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        tops = {name.split("/")[0] for name in names}
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {top for top in tops if not top.endswith(".dist-info")} == {"orchestrator", "workers"}
    assert {"orchestrator/py.typed", "workers/py.typed", "orchestrator/DESIGN.md", "orchestrator/guide/flows.md"} <= set(names)
    assert "Name: orchestrator-pool" in metadata
    assert "Typing :: Typed" in metadata
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"orchestrator", "workers", "README.md", "LICENSE", "pyproject.toml"} <= inside
    assert not {"tests", "scripts"} & inside


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_an_empty_environment_runs_the_first_examples(built, kind, tmp_path):
    [package] = built.glob(kind)
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    [site] = environment.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{DEPENDENCIES}\n")  # psutil, cloudpickle, tqdm; and not the clone
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", package),
        cwd=tmp_path,
    )
    where = run(python, "-c", "import orchestrator, workers; print(orchestrator.__file__, workers.__file__)", cwd=tmp_path)
    assert where.split() == [str(site / "orchestrator/__init__.py"), str(site / "workers/__init__.py")]
    run_page(ROOT / "README.md", tmp_path, python)
