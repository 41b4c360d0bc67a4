"""Cloudflare R2 for the tests: an S3 that refuses what R2 refuses, and misbehaves when a test asks it to.

moto keeps the objects, and refuses what S3 does: parts below 5 MiB, part numbers beyond 10,000. In front of it stands
what makes R2 differ, with R2's own statuses and codes (https://developers.cloudflare.com/r2/api/error-codes/ and
/r2/api/s3/api/): a header or a subresource that is not implemented is a 501, all parts but the last are equal, one key
is written once a second, a bucket lock rule keeps what it covers. Where R2's documentation does not say whether a thing
is let through, it is refused here.

It runs as a process of its own (`running`); tests reach its switches by HTTP, through a `Switchboard`, which is one
bucket's alone. So tests that share the server do not meet, and nothing has to be put back.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.wrappers import Request, Response

MIB = 1 << 20
MOST_METADATA = 8192
PAUSE = 1.0
"""Seconds that have to pass between two writes of one key."""
REGIONS = ("", "auto", "us-east-1", "wnam", "enam", "weur", "eeur", "apac", "oc")
SWITCHES = "/-/"
"""No bucket's name can be that."""

WRITES = ("PutObject", "CopyObject", "CompleteMultipartUpload")
DELETES = ("DeleteObject", "DeleteObjects")

NOT_IMPLEMENTED_HEADERS = re.compile(
    r"""x-amz-(
        acl|grant-.+                                         # ACLs
        |tagging|tagging-directive
        |object-lock-.+|bucket-object-lock-enabled|bypass-governance-retention|mfa
        |server-side-encryption(-aws-kms-key-id|-context|-bucket-key-enabled)?   # but not -customer-…
        |trailer|sdk-checksum-algorithm|checksum-(?!mode$).+
        |request-payer|(source-)?expected-bucket-owner|website-redirect-location
    )""",
    re.VERBOSE,
)
NOT_IMPLEMENTED_SUBRESOURCES = {
    *("acl", "tagging", "policy", "policyStatus", "versioning", "versions", "versionId", "object-lock", "retention"),
    *("legal-hold", "website", "logging", "notification", "replication", "requestPayment", "accelerate", "analytics"),
    *("inventory", "metrics", "intelligent-tiering", "ownershipControls", "publicAccessBlock", "torrent", "select"),
    *("restore", "attributes"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. It applies to the requests that match, after the first `skip` of them, `times` times;
    0 is for ever. Faults are looked at in the order in which they were asked for; the first that applies is the one."""

    operation: str = ""
    """A regular expression for the operation's name, as S3 names it: `Put.*|UploadPart`."""
    key: str = ""
    """A regular expression that is searched for in the key."""
    skip: int = 0
    times: int = 0

    status: int = 0
    """Answer this, and do nothing."""
    code: str = ""
    done: bool = False
    """Answer `status`, though it was done: an answer that got lost on its way."""
    seconds: float = 0
    """Wait, and then do as one should: before the answer, and in the middle of its body."""
    forget: bool = False
    """Say that it was done, and do nothing."""
    heedless: bool = False
    """Write, whether or not `If-None-Match` lets one."""
    body: str = ""
    """What becomes of the body of the answer: `cut` (the connection ends half way), `flip` (one bit in the middle is
    another), `short` (the second half is not there, and nobody says so), `drop` (the second part of `part` bytes is not
    there), `swap` (the first two parts change places)."""
    part: int = 16 * MIB


@dataclass(frozen=True)
class Switchboard:
    """The switches of one bucket."""

    endpoint: str
    bucket: str

    def misbehave(self, **fault: Any) -> None:
        """From now on, have this `Fault`."""
        self._ask("faults", asdict(Fault(**fault)))

    def behave(self) -> None:
        """No fault any more, no lock rule, and the usual pause between two writes."""
        self._ask("behave", None)

    def lock(self, prefix: str = "") -> None:
        """A bucket lock rule: what is below `prefix` can neither be deleted nor overwritten."""
        self._ask("lock", prefix)

    def pause(self, seconds: float) -> None:
        """So long nobody may write a key again."""
        self._ask("pause", seconds)

    def requests(self) -> list[str]:
        """The names of all operations that were asked for, in order, those that were refused included."""
        return [str(name) for name in self._ask("requests", None)]

    def _ask(self, what: str, value: object) -> Any:
        url = f"{self.endpoint}{SWITCHES}{what}/{self.bucket}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(value).encode())) as answer:
            return json.load(answer)


@contextmanager
def running(address: str = "127.0.0.1") -> Iterator[str]:
    """The endpoint of a server of one's own, which listens at that address alone."""
    command = [sys.executable, "-W", "ignore", __file__, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            yield f"http://{address}:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class Refused(Exception):
    """What R2 answers to what it does not do."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class Asked:
    """A request, as far as it matters here."""

    operation: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


class Bucket:
    """What is known of one bucket besides its objects."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.faults: list[tuple[Fault, list[int]]] = []
        """Each with the number of requests that matched it so far."""
        self.locked: list[str] = []
        self.pause = PAUSE
        self.written: dict[str, float] = {}
        self.parts: dict[str, dict[int, tuple[int, str]]] = {}
        """By upload and number: the part's size and ETag."""


class R2:
    """The WSGI application. `inner` keeps the objects."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.buckets: dict[str, Bucket] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        from werkzeug.wrappers import Request

        request = Request(environ)
        if request.path.startswith(SWITCHES):
            return self._switch(request)(environ, start_response)
        _to_path_style(environ, request.host)
        asked = understand(Request(environ))
        bucket = self.buckets.setdefault(asked.bucket, Bucket())
        bucket.requests.append(asked.operation)
        fault = _next_fault(bucket, asked)
        try:
            if fault and fault.status and not fault.done:
                raise Refused(fault.status, fault.code, "a fault that a test asked for")
            if fault and fault.seconds:
                time.sleep(fault.seconds)
            if fault and fault.heedless:
                asked.headers.pop("if-none-match", None)
                environ.pop("HTTP_IF_NONE_MATCH", None)
            self._refuse(environ, bucket, asked)
            if fault and fault.forget:
                response = _answer(200, "", {"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'})
            else:
                response = self._pass_on(environ, asked)
            if response.status_code < 300 and not (fault and fault.forget):
                _note(bucket, asked, response)
            if fault and fault.done:
                raise Refused(fault.status, fault.code, "a fault that a test asked for")
        except Refused as refused:
            text = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
            response = _answer(refused.status, '<?xml version="1.0" encoding="UTF-8"?>\n' + text)
        if fault and (fault.body or fault.seconds) and asked.operation == "GetObject" and response.status_code < 300:
            _spoil(response, fault)
        return response(environ, start_response)

    def _switch(self, request: Request) -> Response:
        what, name = request.path.removeprefix(SWITCHES).split("/")
        bucket, value = self.buckets.setdefault(name, Bucket()), json.loads(request.get_data())
        if what == "faults":
            bucket.faults.append((Fault(**value), [0]))
        elif what == "lock":
            bucket.locked.append(value)
        elif what == "pause":
            bucket.pause = value
        elif what == "behave":
            bucket.faults, bucket.locked, bucket.pause = [], [], PAUSE
        return _answer(200, json.dumps(bucket.requests if what == "requests" else None))

    def _refuse(self, environ: WSGIEnvironment, bucket: Bucket, asked: Asked) -> None:
        refuse_what_is_not_implemented(asked)
        refuse_what_is_not_allowed(asked)
        if asked.operation == "CompleteMultipartUpload":
            if asked.query["uploadId"] not in bucket.parts:
                raise Refused(404, "NoSuchUpload", "The specified multipart upload does not exist.")
            refuse_parts(bucket.parts[asked.query["uploadId"]], asked.body)
        if asked.operation in WRITES:
            if time.monotonic() - bucket.written.get(asked.key, -bucket.pause) < bucket.pause:
                raise Refused(429, "TooManyRequests", "Reduce your concurrent request rate for the same object.")
            if asked.headers.get("if-none-match") == "*" and self._is_there(environ, asked):
                raise Refused(
                    412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold."
                )
        if asked.operation in (*WRITES, *DELETES):
            locked = any(asked.key.startswith(prefix) for prefix in bucket.locked)
            if locked and (asked.operation == "DeleteObjects" or self._is_there(environ, asked)):
                raise Refused(403, "ObjectLockedByBucketPolicy", "The object is locked by the bucket policy.")

    def _is_there(self, environ: WSGIEnvironment, asked: Asked) -> bool:
        head = {name: value for name, value in environ.items() if name != "HTTP_IF_NONE_MATCH"}
        head |= {"REQUEST_METHOD": "HEAD", "QUERY_STRING": "", "CONTENT_LENGTH": "0"}
        return self._pass_on(head, Asked("HeadObject", asked.bucket, asked.key, {}, {}, b"")).status_code == 200

    def _pass_on(self, environ: WSGIEnvironment, asked: Asked) -> Response:
        from werkzeug.wrappers import Response

        passed = {name: value for name, value in environ.items() if not name.startswith("werkzeug.")}
        passed["wsgi.input"] = io.BytesIO(asked.body)  # what stands in front has read it already
        passed["HTTP_AUTHORIZATION"] = re.sub("/[^/]*/s3/", "/us-east-1/s3/", environ["HTTP_AUTHORIZATION"])
        return Response.from_app(self.inner, passed, buffered=True)


def _to_path_style(environ: WSGIEnvironment, host: str) -> None:
    """`bucket.account.r2…/key` is `account.r2…/bucket/key`; here the account is called localhost."""
    bucket, _, account = host.partition(":")[0].partition(".")
    if account == "localhost":
        environ["PATH_INFO"] = f"/{bucket}{environ['PATH_INFO']}"
        environ["HTTP_HOST"] = "127.0.0.1"
        environ["RAW_URI"] = f"/{bucket}{environ['RAW_URI']}"


OPERATIONS = (
    # method, whether there is a key, a parameter that is there, and what that is
    ("PUT", True, "partNumber", "UploadPart"),
    ("PUT", True, "", "PutObject"),
    ("POST", True, "uploads", "CreateMultipartUpload"),
    ("POST", True, "uploadId", "CompleteMultipartUpload"),
    ("DELETE", True, "uploadId", "AbortMultipartUpload"),
    ("DELETE", True, "", "DeleteObject"),
    ("GET", True, "uploadId", "ListParts"),
    ("GET", True, "", "GetObject"),
    ("HEAD", True, "", "HeadObject"),
    ("GET", False, "uploads", "ListMultipartUploads"),
    ("GET", False, "", "ListObjectsV2"),
    ("POST", False, "delete", "DeleteObjects"),
    ("PUT", False, "", "CreateBucket"),
    ("HEAD", False, "", "HeadBucket"),
)


def understand(request: Request) -> Asked:
    bucket, _, key = request.path.lstrip("/").partition("/")
    operation = next(
        (o for method, of_key, name, o in OPERATIONS if (method, of_key) == (request.method, bool(key))
         and (not name or name in request.args)),
        request.method,
    )  # fmt: skip
    if operation == "PutObject" and "x-amz-copy-source" in request.headers:
        operation = "CopyObject"
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Asked(operation, bucket, key, request.args.to_dict(), headers, request.get_data())


def refuse_what_is_not_implemented(asked: Asked) -> None:
    for name, value in asked.headers.items():
        if NOT_IMPLEMENTED_HEADERS.fullmatch(name):
            raise Refused(501, "NotImplemented", f"Header '{name}' with value '{value}' not implemented")
    if (content := asked.headers.get("x-amz-content-sha256", "")).startswith("STREAMING-"):
        raise Refused(501, "NotImplemented", f"{content} not implemented")
    if "aws-chunked" in asked.headers.get("content-encoding", ""):
        raise Refused(501, "NotImplemented", "Header 'content-encoding' with value 'aws-chunked' not implemented")
    if asked.headers.get("x-amz-storage-class", "STANDARD") not in ("STANDARD", "STANDARD_IA"):
        raise Refused(501, "NotImplemented", "Header 'x-amz-storage-class' not implemented")
    for name in NOT_IMPLEMENTED_SUBRESOURCES & set(asked.query):
        raise Refused(501, "NotImplemented", f"{asked.operation} with '{name}' not implemented")


def refuse_what_is_not_allowed(asked: Asked) -> None:
    scope = re.search(r"Credential=[^/]+/\d{8}/([^/]*)/s3/aws4_request", asked.headers.get("authorization", ""))
    if not scope:
        raise Refused(401, "Unauthorized", "Unauthorized")
    if scope[1] not in REGIONS:
        valid = ", ".join(sorted(REGIONS[1:]))
        raise Refused(400, "InvalidRegionName", f"The region name '{scope[1]}' is not valid. Must be one of: {valid}")
    if asked.operation in ("PutObject", "UploadPart") and "content-length" not in asked.headers:
        raise Refused(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    metadata = [(name, value) for name, value in asked.headers.items() if name.startswith("x-amz-meta-")]
    if sum(len(name) - len("x-amz-meta-") + len(value.encode()) for name, value in metadata) > MOST_METADATA:
        raise Refused(400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.")


def refuse_parts(known: dict[int, tuple[int, str]], body: bytes) -> None:
    named = [
        {re.sub("{.*}", "", field.tag): field.text or "" for field in part} for part in ElementTree.fromstring(body)
    ]
    sizes = []
    for part in named:
        size, etag = known.get(int(part["PartNumber"]), (0, ""))
        if etag.strip('"') != part["ETag"].strip('"'):
            raise Refused(400, "InvalidPart", "One or more of the specified parts could not be found.")
        sizes.append(size)
    if len(set(sizes[:-1])) > 1 or sizes[-1:] > sizes[:1]:
        raise Refused(400, "InvalidPart", "All non-trailing parts must have the same length.")


def _fields(element: ElementTree.Element) -> dict[str, str]:
    return {re.sub("{.*}", "", field.tag): field.text or "" for field in element}


def _note(bucket: Bucket, asked: Asked, response: Response) -> None:
    if asked.operation in WRITES:
        bucket.written[asked.key] = time.monotonic()
    upload = asked.query.get("uploadId", "")
    if asked.operation == "CreateMultipartUpload":
        bucket.parts[_fields(ElementTree.fromstring(response.get_data()))["UploadId"]] = {}
    elif asked.operation == "UploadPart":
        bucket.parts[upload][int(asked.query["partNumber"])] = (len(asked.body), response.headers["ETag"])
    elif asked.operation in ("CompleteMultipartUpload", "AbortMultipartUpload"):
        bucket.parts.pop(upload, None)


def _next_fault(bucket: Bucket, asked: Asked) -> Fault | None:
    for fault, seen in bucket.faults:
        if re.fullmatch(fault.operation or ".*", asked.operation) and re.search(fault.key, asked.key):
            seen[0] += 1
            if fault.skip < seen[0] and (not fault.times or seen[0] <= fault.skip + fault.times):
                return fault
    return None


def _spoil(response: Response, fault: Fault) -> None:
    body, part = response.get_data(), fault.part
    half, length = len(body) // 2, len(body)
    if fault.body == "flip":
        body = body[:half] + bytes([body[half] ^ 1]) + body[half + 1 :]
    elif fault.body == "drop":
        body = body[:part] + body[2 * part :]
    elif fault.body == "swap":
        body = body[part : 2 * part] + body[:part] + body[2 * part :]
    elif fault.body in ("cut", "short"):
        body = body[:half]

    def pieces() -> Iterator[bytes]:
        yield body[:half]
        time.sleep(fault.seconds)
        yield body[half:]

    response.response = pieces()
    response.headers["Content-Length"] = str(length if fault.body == "cut" else len(body))


def _answer(status: int, body: str, headers: dict[str, str] | None = None) -> Response:
    from werkzeug.wrappers import Response

    return Response(body, status, headers, content_type="application/xml")


def main() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        def log(self, *_: object) -> None:
            pass

    application = R2(DomainDispatcherApplication(create_backend_app))
    server = make_server(sys.argv[1], 0, application, threaded=True, request_handler=Quiet)
    print(server.port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
