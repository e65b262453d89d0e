"""How long the explorer takes for its pages: the server's time for each kind, of a study that is there.

    python -m benchmarks.explorer runs/mini              # the demo's study
    python -m benchmarks.explorer runs/mini --pages 20   # fewer of each kind
    python -m benchmarks.explorer runs/mini --settled    # once it has looked through the study, as in its first seconds

Pages are asked one after the other, in this process, without a network. Of labels, concepts, images and codes as many
different ones as ``--pages``, drawn with a fixed seed and each asked once, so that none has been read before; of the
first page and of searches the same one or few. The first answer of each kind, which also imports what it needs, is
told apart. Columns: milliseconds in the median, at the 95th percentile, at most; the same percentile of the processor's
milliseconds, of all threads, which a busy machine changes less; kilobytes in the median; the most memory that the
process has held so far, in megabytes. A study without images, as `python -m benchmarks.queries --keep DIR` makes one,
lacks the kinds of pages that show some; `python -m benchmarks.full_pictures DIR` adds them.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from explorer.addresses import label_url
from explorer.app import application
from explorer.memory import give_back_memory
from explorer.missing import every_dictionary, known_labels
from explorer.server import ready
from explorer.source import Source
from flows.lightness import keep_pandas_away

WORDS = ("tree", "boat", "water", "night", "177", "a cat")


def addresses(root: Path, pages: int) -> dict[str, list[str]]:
    """Kind of page -> addresses to ask."""
    source = Source(root)
    rng = np.random.default_rng(0)
    dictionaries = every_dictionary(source)
    images = source.arrow("images", ["prompt_id"])["prompt_id"].to_pylist()
    concepts, codes = [], []
    for _ in range(pages):
        at = dictionaries[rng.integers(len(dictionaries))]
        there = source.arrow("concepts", ["cid"], **at.columns)["cid"].to_pylist()
        concepts.append(at.url(int(rng.choice(there))))
        if images:
            codes.append(f"/image/{rng.choice(images)}/codes/{at.path}")
    shown = [int(one) for one in rng.choice(images, min(pages, len(images)), replace=False)] if images else []
    asked = {
        "the study": ["/"] * pages,
        "label": [label_url(label) for label in known_labels(source)][:pages],
        "concept": concepts if images else [],
        "image": [f"/image/{one}" for one in shown],
        "picture": [f"/image/{one}/picture" for one in shown],
        "codes": codes,
        "search": [f"/search?q={word}" for word in WORDS],
    }
    return {kind: of for kind, of in asked.items() if of}


def timed(client: TestClient, asked: list[str]) -> tuple[list[float], list[float], list[int]]:
    """Milliseconds by the clock and of the processor, and bytes of each answer. Raises ``RuntimeError`` for no page."""
    times, used, sizes = [], [], []
    for address in asked:
        begun, before = time.perf_counter(), time.process_time()
        answer = client.get(address)
        times.append(1000 * (time.perf_counter() - begun))
        used.append(1000 * (time.process_time() - before))
        sizes.append(len(answer.content))
        if answer.status_code != 200:
            raise RuntimeError(f"{address}: {answer.status_code}")
    return times, used, sizes


def percentile(values: list[float]) -> float:
    """The 95th, as the value that so many are below."""
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)]


def main() -> None:
    """Print a line for each kind of page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--settled", action="store_true", help="as after the server's first seconds")
    options = parser.parse_args()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:  # what it reads is not ours
        asked = elsewhere.submit(addresses, options.root, options.pages).result()
    keep_pandas_away()  # as the command does, which also freezes what it has imported
    gc.freeze()
    give_back_memory()
    source = Source(options.root)
    if options.settled:
        ready(source)
    client = TestClient(application(source), base_url="http://localhost")
    print(f"{'page':<10} {'n':>4} {'first':>8} {'median':>8} {'p95':>8} {'max':>8} {'cpu p95':>8} {'kB':>6} {'MB':>6}")
    for kind, of in asked.items():
        times, used, sizes = timed(client, of)
        rest = times[1:]
        cells = [times[0], statistics.median(rest), percentile(rest), max(rest), percentile(used[1:])]
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        times_told = " ".join(f"{value:>8.0f}" for value in cells)
        print(f"{kind:<10} {len(of):>4} {times_told} {statistics.median(sizes) / 1000:>6.0f} {held:>6.0f}", flush=True)


if __name__ == "__main__":
    main()
