"""axe-core, which looks for what keeps people from using a page: found where npm puts it, or where AXE says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.paths import ROOT
from tests.system.browser import Page

FILE = Path(os.environ.get("AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
ABSENT = "no axe-core: `npm install --no-save axe-core` in the checkout brings it, or AXE names its axe.min.js"
GRAVE = ("serious", "critical")
VIEWS = {"light": 1200, "dark": 360}  # colours -> pixels that the window is wide


def faults(tab: Page, address: str) -> list[str]:
    """What is serious or critical on a page, wide and light, narrow and dark: rule, place, and what is wrong there."""
    found = []
    tab.go(address)
    # Through the browser's own protocol, since the page's policy lets no script of others run.
    tab.call("Runtime.evaluate", expression=FILE.read_text(encoding="utf-8"))
    for scheme, width in VIEWS.items():
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        asked: dict[str, Any] = {"resultTypes": ["violations"]}
        for fault in tab.ask(f"axe.run(document, {json.dumps(asked)}).then(r => r.violations)"):
            if fault["impact"] in GRAVE:
                places = "; ".join(node["html"][:160] for node in fault["nodes"][:3])
                found.append(f"{address} ({scheme}), {fault['id']}: {fault['help']}: {places}")
    return found
