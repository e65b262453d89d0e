"""Ending a command at once when it is told to: Ctrl-C, SIGTERM, a closed terminal.

Python runs its signal handlers only between two steps of the main thread, which may be minutes deep in a model; its
interpreter waits for every thread before it ends, and libraries abort when they are torn down at work. So a thread of
its own hears the signal, says farewell, ends the processes that the command started, and then the command. That is safe
because a unit of work is published whole or not at all: a run may be killed anywhere.
"""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FAREWELL_SECONDS = 5.0  # for the last words, to a server that may not answer; after a grace, within ten seconds
MESSAGE = "interrupted; what was finished is kept: run the same command again"
LEFT = "interrupted"  # of a command that makes nothing which a second one would go on with
_last_words = [MESSAGE]
_farewells: list[Callable[[], None]] = []
_told: list[int] = []  # the signal that was heard, if one was
_heard = threading.Event()


@contextmanager
def farewell(words: Callable[[], None]) -> Iterator[None]:
    """Have ``words`` called, in another thread, if the command is ended while the context is open."""
    context = contextvars.copy_context()  # Prefect keeps in it which server it talks to

    def say() -> None:
        context.run(words)

    _farewells.append(say)
    try:
        yield
    finally:
        _farewells.remove(say)


@contextmanager
def ended_by_signals(grace: float = 0.0, last_words: str = MESSAGE) -> Iterator[None]:
    """While the context is open, end the process on a signal with code 128 + its number, and ``last_words`` on stderr.

    The main thread is first given ``grace`` seconds to end by itself, of which a second signal deprives it. Signals
    that the process was started deaf to, as by ``nohup``, stay unheard.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    for number in heard:
        signal.signal(number, signal.default_int_handler if grace else _stay)
    _last_words.append(last_words)
    previous = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(ear, heard, grace), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        _last_words.pop()
        for number in heard:
            signal.signal(number, before[number])
        os.close(mouth)


def _stay(number: int, frame: object) -> None:
    """Python tells the listening thread of signals that have a handler only; this one has nothing to do."""


def _listen(ear: int, heard: list[int], grace: float) -> None:
    """Wait for the first signal, then for the grace or the second one, then end the process."""
    try:
        number = _next(ear, heard)
        if number is None:
            return
        _told.append(number)
        _heard.set()
        if grace:
            threading.Thread(target=_end_after, args=(grace, number), daemon=True).start()
            number = _next(ear, heard) or number
    finally:
        os.close(ear)
    end_process(number)


def _next(ear: int, heard: list[int]) -> int | None:
    """The next signal that we listen to, or None when the context was closed."""
    while byte := os.read(ear, 1):
        if byte[0] in heard:
            return byte[0]
    return None


def end_if_told() -> None:
    """End the process now if a signal was heard: the main thread has used its grace."""
    if _heard.wait(1.0):  # the main thread may be quicker than the one that listens
        end_process(_told[0])


def _end_after(grace: float, number: int) -> None:
    time.sleep(grace)
    end_process(number)


_ending = threading.Lock()


def end_process(number: int) -> None:
    """Say farewell, end every process that this one started, and this one with code 128 + ``number``."""
    _ending.acquire()  # for ever: one thread ends the process
    try:
        words = threading.Thread(target=_say_farewell, daemon=True)
        words.start()
        words.join(FAREWELL_SECONDS)
        end_children()
        say_last(_last_words[-1])
    finally:
        os._exit(128 + number)


def say_last(words: str) -> None:
    """Write a line on stderr after which nothing of this process comes there: its other threads still work."""
    stderr = os.dup(sys.stderr.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    os.write(stderr, f"{words}\n".encode())


def _say_farewell() -> None:
    for words in reversed(_farewells):
        try:
            words()
        except Exception:  # the last words are a courtesy; what ends the process must not fail on them
            continue


def end_children() -> None:
    """Kill every process below this one. They publish whole units or nothing, as we do."""
    import psutil

    try:
        children = psutil.Process().children(recursive=True)
    except psutil.Error:
        return
    for child in children:
        try:
            child.kill()
        except psutil.Error:
            continue
