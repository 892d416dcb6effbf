"""Exchanges something in a module of a peer as soon as it is loaded, in whatever process that is."""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


class Exchange(MetaPathFinder):
    """Finds one module, and has `put_in_place(module)` called once it is loaded."""

    def __init__(self, name, put_in_place):
        self.name, self.put_in_place = name, put_in_place

    def find_spec(self, name, path, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_exchange(module):
            load(module)
            self.put_in_place(module)

        spec.loader.exec_module = load_and_exchange
        return spec


def once_loaded(name, put_in_place):
    """Have it called."""
    sys.meta_path.insert(0, Exchange(name, put_in_place))
