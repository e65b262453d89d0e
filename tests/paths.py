"""Where the shipped weights are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SD_MINI = ROOT / "miniature" / "weights" / "sd-mini"
SCENE_VISION = ROOT / "miniature" / "weights" / "scene-vision"
