"""Puts our backend in loky's place in every Python process that has this folder on its path: tests, scripts, workers."""

import sys

from tests.peers.exchange import once_loaded


def exchange(module):
    from orchestrator.fronts.joblib import OrchestratorBackend

    ours = type("LokyBackend", (OrchestratorBackend,), {})  # some tests ask for the name
    module.BACKENDS["loky"] = sys.modules["joblib._parallel_backends"].LokyBackend = ours
    del module.BACKENDS["orchestrator"]  # which the tests would try, too


once_loaded("joblib.parallel", exchange)
