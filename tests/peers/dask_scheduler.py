"""A plugin of pytest that puts our scheduler in the place of Dask's `processes`: `pytest -p tests.peers.dask_scheduler`."""

import dask.base
import dask.multiprocessing

from orchestrator.fronts.dask import get

dask.multiprocessing.get = get
dask.base.named_schedulers.update(processes=get, multiprocessing=get)
