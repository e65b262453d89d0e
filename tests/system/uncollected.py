"""Imported first by the process that commands are forked from: what it imports is no garbage and stays for ever.

A collector that looked through it would cost seconds here, and in every fork its own copy of the memory looked at.
"""

import gc
import os

gc.disable()


def _forked() -> None:
    gc.freeze()
    gc.enable()


os.register_at_fork(after_in_child=_forked)
