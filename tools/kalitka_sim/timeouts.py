"""The timeout after which another process, thread or socket is taken for dead.

It only ends a hang and is not a limit of speed: it is far longer than a busy computer needs for
anything awaited here. KALITKA_PATIENCE_S in the environment overrides it.
"""

import os

HANG_TIMEOUT_S = float(os.environ.get("KALITKA_PATIENCE_S", "300"))
