"""Every table's Arrow schema, key, order on disk and writers, from the one declaration that each of them has."""

from __future__ import annotations

import pyarrow as pa

from storage import declared_atlas, declared_concepts, declared_edits, declared_images, declared_saes
from storage.declaring import Table

_DECLARED = (declared_images, declared_saes, declared_concepts, declared_edits, declared_atlas)
TABLES: dict[str, Table] = {table.name: table for module in _DECLARED for table in module.TABLES}

SCHEMAS: dict[str, pa.Schema] = {name: table.schema for name, table in TABLES.items()}
KEYS: dict[str, tuple[str, ...]] = {name: table.key for name, table in TABLES.items()}
SORTS: dict[str, tuple[str, ...]] = {name: table.order for name, table in TABLES.items()}
# The stages whose records name parts of a table.
WRITERS: dict[str, tuple[str, ...]] = {name: table.writers for name, table in TABLES.items()}
