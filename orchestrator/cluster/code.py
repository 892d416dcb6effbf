"""Packs the program's own modules for nodes that have none of its folders.

These are the modules that it has loaded and that are not installed: of a package all files, and of a folder on the path
the modules that lie beside a loaded one, as one of those may be imported later. What `__main__` defines goes
another way.

Runs in the program's process, in the thread that opens a call. Owner of the state: `Packer`, one an engine.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType

from orchestrator.cluster.node.code import Code
from orchestrator.cluster.node.messages import carried
from orchestrator.errors import ConfigError

_MOST_BYTES = 64 << 20
_OURS = {"orchestrator", "workers"}
_LEFT_OUT = {"__pycache__", ".git"}
_EPOCH = (1980, 1, 1, 0, 0, 0)

_Stamp = tuple[int, int]


class Packer:
    """Packs what is loaded, and again only when that has changed."""

    def __init__(self) -> None:
        self._stamps: dict[str, tuple[Path, _Stamp]] = {}
        self._code: Code | None = None
        self._installed = _installed()

    def packed(self) -> Code | None:
        """Return the modules, None if there are none.

        Raises:
            ConfigError: they are too large to be sent.
        """
        files = self._files()
        stamps = {name: (path, stamp) for name, path in files.items() if (stamp := _stamp(path)) is not None}
        if stamps != self._stamps:
            self._stamps = stamps
            self._code = _pack(stamps) if stamps else None
        return self._code

    def _files(self) -> dict[str, Path]:
        """Return all files by their names below a folder of the path."""
        found: dict[str, Path] = {}
        for name, module in sorted(sys.modules.items()):
            if "." in name or name in _OURS or name == "__main__" or (file := _file_of(module)) is None:
                continue
            if file.is_relative_to(sys.base_prefix) or any(file.is_relative_to(each) for each in self._installed):
                continue
            if hasattr(module, "__path__"):
                folder = file.parent if file.name == "__init__.py" else file
                found.update(_all_below(folder))
            else:
                found.update({each.name: each for each in file.parent.glob("*.py")})
                found[file.name] = file
        return found


def _installed() -> list[Path]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    kept = [Path(found) for name in names if (found := sysconfig.get_path(name)) is not None]
    return kept + [Path(each) for each in sys.path if Path(each).name in {"site-packages", "dist-packages"}]


def _file_of(module: ModuleType) -> Path | None:
    """Return the file that a module was loaded from, or the folder of a package without `__init__.py`."""
    file = getattr(module, "__file__", None)
    if isinstance(file, str) and file.endswith(".py"):
        return Path(file).absolute()
    places = list(getattr(module, "__path__", ()))
    return Path(places[0]).absolute() if file is None and places and Path(places[0]).is_dir() else None


def _all_below(folder: Path) -> dict[str, Path]:
    found = {}
    for inside, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _LEFT_OUT)
        for name in sorted(names):
            path = Path(inside, name)
            found[str(path.relative_to(folder.parent))] = path
    return found


def _stamp(path: Path) -> _Stamp | None:
    try:
        said = path.stat()
    except OSError:
        return None
    return said.st_mtime_ns, said.st_size


def _pack(files: dict[str, tuple[Path, _Stamp]]) -> Code:
    total = sum(stamp[1] for _, stamp in files.values())
    if total > _MOST_BYTES:
        largest = max(files, key=lambda name: files[name][1][1])
        raise ConfigError(
            f"the modules beside the program are {total / 2**20:,.0f} MiB ({largest} the largest), too much to send to "
            "the nodes: keep data out of packages, or install the package on the nodes and here"
        )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (path, _) in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED)
    data = file.getvalue()
    return Code(hashlib.sha256(data).hexdigest()[:32], carried(data))
