"""A folder as object storage. Only its owner may read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from tenants.core.errors import AlreadyThere, StorageError
from tenants.edges.store import Object, Writer

PIECE = 1 << 20
_PARTIAL = ".partial"


class Folder:
    """Objects are files. One that is being written ends in `.partial`, and gets its name, whole, by a rename."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def place(self, key: str) -> str:
        return f"file://{self.root}/{key}"

    @contextmanager
    def writer(self, key: str) -> Iterator[Writer]:
        with self._speaking(key):
            partial = self._make_room(key)
            try:
                with self._open(partial) as file:
                    yield file
                    self._flush(file)
                partial.replace(self.root / key)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def read(self, key: str) -> Iterator[bytes]:
        with self._speaking(key):
            with (self.root / key).open("rb") as file:
                while piece := file.read(PIECE):
                    yield piece

    def put_new(self, key: str, data: bytes) -> None:
        with self._speaking(key):
            partial = self._make_room(key)
            try:
                with self._open(partial) as file:
                    file.write(data)
                    self._flush(file)
                os.link(partial, self.root / key)
            except FileExistsError:
                raise AlreadyThere(f"{self.place(key)} exists already") from None
            finally:
                partial.unlink(missing_ok=True)

    def objects(self, prefix: str) -> Iterator[Object]:
        with self._speaking(prefix):
            found = {path.relative_to(self.root).as_posix(): path for path in self.root.rglob("*") if path.is_file()}
            for key in sorted(found):
                if key.startswith(prefix) and not key.endswith(_PARTIAL):
                    stat = found[key].stat()
                    yield Object(key, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def folders(self) -> list[str]:
        with self._speaking(""):
            return sorted(p.name for p in self.root.iterdir() if p.is_dir()) if self.root.is_dir() else []

    def delete(self, key: str) -> None:
        with self._speaking(key):
            (self.root / key).unlink(missing_ok=True)

    def clock(self) -> datetime | None:
        return None  # the clock is ours

    def abort_unfinished(self, prefix: str) -> int:
        with self._speaking(prefix):
            found = [
                p for p in self.root.rglob(f"*{_PARTIAL}") if p.relative_to(self.root).as_posix().startswith(prefix)
            ]
            for path in found:
                path.unlink(missing_ok=True)
            return len(found)

    def _make_room(self, key: str) -> Path:
        path = self.root / key
        missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        for folder in reversed(missing):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        return path.with_name(path.name + _PARTIAL)

    @staticmethod
    def _open(path: Path) -> IO[bytes]:
        return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))

    @staticmethod
    def _flush(file: IO[bytes]) -> None:
        file.flush()
        os.fsync(file.fileno())

    @contextmanager
    def _speaking(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise StorageError(f"{self.place(key)} is not there", next="see what is: tenants snapshots") from None
        except OSError as error:
            raise StorageError(
                f"{self.place(key)} cannot be used: {error.strerror}",
                next="check TENANTS_STORE, its disk and its permissions",
            ) from None
