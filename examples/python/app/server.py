"""GET / answers with all notes, and POST / writes one down: `python -m app.server`."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sqlalchemy import create_engine, make_url, select
from sqlalchemy.orm import Session

from .models import Note

URL = make_url(os.environ["DATABASE_URL"].replace("postgres://", "postgresql://", 1))
engine = create_engine(URL.set(drivername="postgresql+psycopg"), pool_pre_ping=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        with Session(engine) as session:
            notes = session.scalars(select(Note).order_by(Note.id)).all()
            self._answer([{"id": note.id, "text": note.text} for note in notes])

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        with Session(engine) as session, session.begin():
            note = Note(text=text)
            session.add(note)
            session.flush()
            self._answer({"id": note.id, "text": note.text})

    def _answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(os.environ.get("PORT", "5000"))), Handler).serve_forever()
