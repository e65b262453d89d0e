"""When a served study runs by itself: a cron expression and a time zone, checked before anything is started."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

from prefect._vendor.croniter import croniter
from prefect.client.schemas.schedules import CronSchedule
from prefect.schedules import Cron, Schedule
from pydantic import ValidationError

from study.errors import StudyError

EXAMPLE = "give minute, hour, day of month, month and day of week, as in '0 3 * * *' for every night at three"


def study_schedule(cron: str, timezone: str) -> Schedule:
    """The schedule. Raises ``StudyError`` for an expression that says no time or never comes, or an unknown zone."""
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise StudyError(f"--timezone {timezone!r} is no time zone: name one as in Europe/Berlin or UTC") from error
    try:
        CronSchedule(cron=cron, timezone=timezone)  # what a server would refuse
        croniter(cron, datetime.now(UTC)).get_next()
    except ValidationError as error:
        raise StudyError(f"--cron {cron!r} is no cron expression: {EXAMPLE}") from error
    except ValueError as error:  # of the 30th of February
        raise StudyError(f"--cron {cron!r} names a time that never comes: {EXAMPLE}") from error
    return Cron(cron, timezone=timezone)
