"""``concepts explore`` and ``concepts export-site``: web pages over a study folder, served or as files."""

from __future__ import annotations

import argparse

from study.imports import import_kept


def run(options: argparse.Namespace) -> int:
    """Serve them until interrupted. Raises an ``AtlasError`` for a folder without a study, or a port that is taken."""
    import_kept("explorer.server")
    from explorer.server import explore

    explore(options.dir, options.port, options.open, options.set, options.compare)
    return 0


def export(options: argparse.Namespace) -> int:
    """Write them to a folder. Raises an ``AtlasError`` where that is taken, or the study cannot be read."""
    from explorer.export import export_site, told

    bounds = options.concepts, options.images, options.megabytes
    made = export_site(options.dir, options.out, *bounds, options.replace, options.labels)
    print(told(made, options.out))
    return 0
