"""``concepts explore``: web pages over a study folder."""

from __future__ import annotations

import argparse


def run(options: argparse.Namespace) -> int:
    """Serve them until interrupted. Raises an ``AtlasError`` for a folder without a study, or a port that is taken."""
    from explorer.server import explore

    explore(options.dir, options.port, options.open, options.set)
    return 0
