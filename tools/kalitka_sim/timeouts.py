"""The timeout after which another process, thread or socket is taken for dead.

It only ends what hangs and bounds no speed: it is far longer than a busy computer needs for
anything that is awaited. KALITKA_PATIENCE_S in the environment overrides it.
"""

import os

HANG_TIMEOUT_S = float(os.environ.get("KALITKA_PATIENCE_S", "300"))
