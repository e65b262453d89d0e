"""A command on a machine without a network: what it tried to reach, what it listened on, what `ps` showed of it.

    unshare --user --map-root-user --net python -P alone.py REPORT COMMAND...

runs the command in a network namespace of its own whose one device is loopback, and writes what was seen to the file
REPORT, as JSON. The kernel counts whoever asks for an address that no route leads to, in any process, however it then
goes on; so a request that was given up without a word is seen as well. Ends with the command's exit code.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
ELSEWHERE = ("192.0.2.1", "2001:db8::1")  # addresses that nobody has (RFC 5737, RFC 3849)
LISTENS = "0A"


def raise_loopback() -> None:
    """Bring up ``lo``, without which no process can talk to another. Raises ``OSError`` where that is forbidden."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP | IFF_RUNNING))


def sent_away() -> dict[str, int]:
    """How often a route was looked for and not found, and how many datagrams were sent at all, as to a name server."""
    lines = Path("/proc/net/snmp").read_text().splitlines()
    counts = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        kind, *numbers = values.split()
        counts |= {f"{kind}{name}": int(n) for name, n in zip(names.split()[1:], numbers, strict=True)}
    version_6 = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return {
        "without a route": counts["Ip:OutNoRoutes"] + int(version_6["Ip6OutNoRoutes"]),
        "datagrams": counts["Udp:OutDatagrams"] + int(version_6["Udp6OutDatagrams"]),
    }


def try_elsewhere() -> None:
    """Ask for what is not on this machine, to see that it is counted."""
    for family, address in zip((socket.AF_INET, socket.AF_INET6), ELSEWHERE, strict=True):
        with socket.socket(family) as one, contextlib.suppress(OSError):
            one.connect((address, 80))


def listening() -> set[str]:
    """Addresses that something in this namespace listens on, as the kernel writes them: hexadecimal, and the port."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {row[1] for row in rows if row[3] == LISTENS}


def command_lines() -> set[str]:
    """What `ps` shows of every process."""
    shown = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            shown.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return shown


def main(report: Path, command: list[str]) -> int:
    """Run the command and write what was seen of it."""
    raise_loopback()
    process = subprocess.Popen(command)
    addresses: set[str] = set()
    shown: set[str] = set()
    while process.poll() is None:
        addresses |= listening()
        shown |= command_lines()
        time.sleep(0.2)
    during = sent_away()
    try_elsewhere()
    seen = {"sent": during, "counted": sent_away(), "listening": sorted(addresses), "shown": sorted(shown)}
    report.write_text(json.dumps(seen))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
