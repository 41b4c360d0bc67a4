"""An S3 over HTTP that keeps objects in files and nothing in memory, so that they may be large: as much of the protocol
as `tenants` speaks. It checks no signature. It runs as a process of its own (`running`), outside of what is measured.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import formatdate
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PIECE = 1 << 20


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The endpoint of a server whose objects are below `folder`."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    lengths: ClassVar[dict[str, int]] = {}
    """Of the parts of each upload: that of its first one, which all but the last have."""

    def setup(self) -> None:
        super().setup()
        self.query: dict[str, str] = {}
        self.bucket = self.key = ""

    def parse_request(self) -> bool:
        good = super().parse_request()
        url = urlsplit(self.path) if good else urlsplit("")
        self.bucket, _, self.key = unquote(url.path).lstrip("/").partition("/")
        self.query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        return good

    @property
    def place(self) -> Path:
        return self.root / self.bucket / self.key

    @property
    def parts(self) -> Path:
        """Where the parts of an upload go, one behind the other."""
        return self.root / self.query["uploadId"]

    def do_PUT(self) -> None:
        if not self.key:
            self.place.mkdir()
            return self.answer()
        if "uploadId" in self.query:
            length = self.lengths.setdefault(self.query["uploadId"], int(self.headers["Content-Length"]))
            return self.receive(self.parts, (int(self.query["partNumber"]) - 1) * length)
        if self.headers.get("If-None-Match") == "*" and self.place.exists():
            self.rfile.read(int(self.headers["Content-Length"]))
            return self.answer("<Error><Code>PreconditionFailed</Code></Error>", 412)
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.place.touch()
        return self.receive(self.place, 0)

    def receive(self, path: Path, offset: int) -> None:
        left, digest = int(self.headers["Content-Length"]), md5(usedforsecurity=False)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        with path.open("r+b") as file:
            file.seek(offset)
            while left and (piece := self.rfile.read(min(left, PIECE))):
                left -= file.write(piece)
                digest.update(piece)
            file.truncate()
        self.answer(etag=digest.hexdigest())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "uploads" in self.query:
            self.query["uploadId"] = uuid.uuid4().hex
            self.parts.touch()
            id_ = self.query["uploadId"]
            return self.answer(
                f"<InitiateMultipartUploadResult><UploadId>{id_}</UploadId></InitiateMultipartUploadResult>"
            )
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self.parts.rename(self.place)
        return self.answer("<CompleteMultipartUploadResult><ETag>&quot;-&quot;</ETag></CompleteMultipartUploadResult>")

    def do_DELETE(self) -> None:
        (self.parts if "uploadId" in self.query else self.place).unlink(missing_ok=True)
        self.answer(status=204)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.key:
            return self.answer("<ListMultipartUploadsResult/>" if "uploads" in self.query else self.listing())
        if not self.place.is_file():
            return self.answer("<Error><Code>NoSuchKey</Code></Error>", 404)
        self.send_response(200)
        self.send_header("Content-Length", str(self.place.stat().st_size))
        self.send_header("Last-Modified", formatdate(self.place.stat().st_mtime, usegmt=True))
        self.send_header("ETag", '"-"')
        self.end_headers()
        if self.command == "GET":
            with self.place.open("rb") as file, suppress(ConnectionError):  # somebody has read enough
                shutil.copyfileobj(file, self.wfile, PIECE)
        return None

    def listing(self) -> str:
        """All objects below the prefix, or what is before the next delimiter, in one answer however many there are."""
        prefix, delimiter, found, folders = self.query.get("prefix", ""), self.query.get("delimiter"), [], set()
        for path in sorted(p for p in self.place.rglob("*") if p.is_file()):
            key, stat = path.relative_to(self.place).as_posix(), path.stat()
            if key.startswith(prefix) and delimiter and delimiter in key[len(prefix) :]:
                folders.add(prefix + key[len(prefix) :].partition(delimiter)[0] + delimiter)
            elif key.startswith(prefix):
                at = datetime.fromtimestamp(stat.st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                name = f"<Key>{escape(key)}</Key><LastModified>{at}</LastModified>"
                found.append(f"<Contents>{name}<ETag>-</ETag><Size>{stat.st_size}</Size></Contents>")
        found += [f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in sorted(folders)]
        return f"<ListBucketResult>{''.join(found)}</ListBucketResult>"

    def answer(self, body: str = "", status: int = 200, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body.encode())))
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


def main(folder: str) -> None:
    Handler.root = Path(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
