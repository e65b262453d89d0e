"""Is what runs in this container well? For the health checks of docker-compose.yml: exit code 0, or 1 and a sentence.

python deploy/health.py URL         the address answers 200
python deploy/health.py services    the server's services in this container reported to Redis within 30 seconds
python deploy/health.py folders     studies can be written, and not by root
"""

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SECONDS = 30  # the services report every two


def trouble(what: str) -> str | None:
    """What is wrong with an address, the services or the folders, in a sentence; None if nothing is."""
    if what == "services":
        return _services()
    if what == "folders":
        return _folders(Path("runs"))
    return _address(what)


def _address(url: str) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(url, timeout=8) as answer:
            return None if answer.status == 200 else f"{url} answers {answer.status}"
    except (urllib.error.URLError, OSError) as error:
        return f"{url} does not answer: {error}"


def _services() -> str | None:
    from redis import Redis, RedisError

    try:
        # Prefect's own names: of the queue of its services, and host#process of each; scores are seconds since 1970.
        with Redis.from_url(os.environ["PREFECT_SERVER_DOCKET_URL"], socket_timeout=5) as redis:
            known = redis.zrange("prefect:workers", 0, -1, withscores=True)
    except RedisError as error:
        return f"Redis does not answer: {error}"
    here = [seen for name, seen in known if name.decode().startswith(f"{socket.gethostname()}#")]
    age = time.time() - max(here, default=0.0)
    return None if age <= SECONDS else "the services have reported nothing for 30 seconds"


def _folders(runs: Path) -> str | None:
    if os.getuid() == 0:
        return "studies would belong to root: set ATLAS_UID and ATLAS_GID in .env to a user of this machine"
    if not os.access(runs, os.W_OK):
        return (
            f"the folder of studies (ATLAS_RUNS) cannot be written by user {os.getuid()}, group {os.getgid()}: give it "
            "to them, or set ATLAS_UID and ATLAS_GID in .env to whom it belongs"
        )
    return None


if __name__ == "__main__":
    wrong = trouble(sys.argv[1])
    if wrong:
        print(wrong, file=sys.stderr)
    sys.exit(bool(wrong))
