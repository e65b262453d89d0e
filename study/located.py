"""Where edits are made: at the blocks that the configuration names or, if it names none, that a trace has found."""

from __future__ import annotations

from storage.records import read_record
from study.errors import StudyError
from study.study import Study

LOCATE = "locate"
BLOCKS = "blocks"  # in the record of a unit of that stage


def blocks_of(study: Study, kind: str) -> tuple[str, ...]:
    """The blocks that a kind of edit, spatial or global, acts on.

    Raises ``StudyError`` where a trace is to choose them and has not been made.
    """
    if named := study.config.interventions.named_blocks(kind):
        return named
    known = tuple(study.config.sites.blocks)
    if len(known) == 1:
        return known  # nothing to choose
    record = read_record(study.root, LOCATE, kind)
    if record is None:
        raise StudyError(
            f"{study.root}: which block {kind} edits are made at is left to a trace, which has not been made: run "
            "`concepts intervene` first, or name a block"
        )
    return tuple(record[BLOCKS])


def block_shown(study: Study) -> str:
    """The block that pictures show one of: the first that spatial edits act on or, without such edits, of the study."""
    edits = study.config.interventions
    if edits.named_blocks("spatial") or edits.objects:
        return blocks_of(study, "spatial")[0]
    return next(iter(study.config.sites.blocks))
