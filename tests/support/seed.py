"""What the seeded tests draw from: the same in each run of the suite, so that a red run tells of a change, not of luck.

`scripts/chaos` sets `CHAOS_SEED` anew for each of its runs; then Hypothesis draws new examples as well.
"""

import os

DRAWN = "CHAOS_SEED" in os.environ
SEED = int(os.environ.get("CHAOS_SEED", "1000"))
