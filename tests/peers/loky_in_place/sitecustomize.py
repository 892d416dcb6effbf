"""Puts our executor in the place of loky's in every Python process that has this folder on its path."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class Finder(MetaPathFinder):
    """Finds `loky.process_executor`, and exchanges the executor once it is loaded."""

    def find_spec(self, name, path, target=None):
        if name != "loky.process_executor":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_replace(module):
            load(module)
            from tests.peers.loky_executor import put_in_place

            put_in_place(module)

        spec.loader.exec_module = load_and_replace
        return spec


sys.meta_path.insert(0, Finder())
