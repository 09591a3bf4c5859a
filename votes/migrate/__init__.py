"""Option files and runs of other programs as those of this project."""

from __future__ import annotations

from votes.migrate.files import Migrated, migrate_file, written

__all__ = ['Migrated', 'migrate_file', 'written']
