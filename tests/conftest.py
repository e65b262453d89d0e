"""Settings that have to stand before Prefect, transformers or torch are imported."""

import os

for name, value in {
    "HF_HUB_OFFLINE": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    # One thread: two that spin for each other on a shared core make small steps take minutes.
    "OMP_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(name, value)
