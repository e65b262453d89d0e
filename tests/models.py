"""Model folders that a test may spoil."""

import shutil

from tests.paths import SD_MINI


def miniature_without_manifest(place):
    """A copy of the miniature at ``place``, without the manifest that would notice every change."""
    shutil.copytree(SD_MINI, place)
    (place / "manifest.json").unlink()
    return place
