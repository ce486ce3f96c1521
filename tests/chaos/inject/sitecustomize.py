"""Put the cut into every Python process of a run; Python imports this file by its name."""

import os

if "CHAOS_LOG" in os.environ:
    import injection

    injection.install()
