"""S3 and what speaks like it, Cloudflare R2 above all. The one module that knows boto3.

What R2 asks for (https://developers.cloudflare.com/r2/api/s3/api/): no checksum trailers, which boto3 sends by itself
since 1.36; parts that are all equal but the last; no ACLs, no tags.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
)

from tenants.core.errors import AlreadyThere, StorageError
from tenants.core.names import printable
from tenants.edges.store import Object, Writer

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 << 20
"""Bytes of a part. 10,000 parts are allowed: streams of up to 156 GiB."""

PIECE = 1 << 20

AGAIN = (404, 409, 412, 429)
"""What a write is answered that is sent again though the first one was done, and only its answer was lost: its upload
is not there any more, the key is, or has just been written."""


class S3:
    """One bucket and prefix. Credentials and endpoint come from boto3's own `AWS_…` variables."""

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self._endpoint = endpoint or "AWS"
        try:
            self._client: S3Client = boto3.client(
                "s3",
                region_name=region or ("auto" if endpoint else None),
                config=Config(
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    connect_timeout=10,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": 4},
                    s3={"addressing_style": "path"} if endpoint else None,
                ),
            )
        except PartialCredentialsError:
            raise self._no_credentials() from None
        except (BotoCoreError, ValueError) as error:
            raise StorageError(
                f"the settings for s3://{bucket} cannot be used: {error}", next="check the AWS_… variables"
            ) from None

    def place(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    @contextmanager
    def writer(self, key: str) -> Iterator[Writer]:
        with self._speaking(key), ThreadPoolExecutor(1) as thread:
            upload = _Upload(self._client, self.bucket, self.prefix + key, thread)
            try:
                yield upload
                upload.complete()
            except BaseException:
                upload.abort()
                raise

    def read(self, key: str) -> Iterator[bytes]:
        with self._speaking(key):
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            body, size, count = answer["Body"], answer["ContentLength"], 0
            try:
                with body:
                    for piece in body.iter_chunks(PIECE):
                        count += len(piece)
                        yield piece
            except (HTTPClientError, IncompleteReadError):
                raise StorageError(
                    f"{self.place(key)} broke off after {count} of {size} bytes",
                    next="try again; if it happens again, look at the network and at the provider's status page",
                ) from None

    def put_new(self, key: str, data: bytes) -> None:
        with self._speaking(key):
            try:
                self._client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if not _may_be_done(error) or b"".join(self.read(key)) != data:
                    raise

    def objects(self, prefix: str) -> Iterator[Object]:
        with self._speaking(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for found in page.get("Contents", []):
                    yield Object(found["Key"].removeprefix(self.prefix), found["Size"], found["LastModified"])

    def folders(self) -> list[str]:
        with self._speaking(""):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
            )
            return sorted(
                part["Prefix"].removeprefix(self.prefix).rstrip("/")
                for page in pages
                for part in page.get("CommonPrefixes", [])
            )

    def delete(self, key: str) -> None:
        with self._speaking(key):
            self._client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def clock(self) -> datetime | None:
        with self._speaking(""):
            answer = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        try:
            return parsedate_to_datetime(said) if said else None
        except ValueError:
            return None

    def abort_unfinished(self, prefix: str) -> int:
        with self._speaking(prefix):
            count = 0
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix
            )
            for page in pages:
                for upload in page.get("Uploads", []):
                    try:
                        self._client.abort_multipart_upload(
                            Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        count += 1
                    except ClientError as error:
                        if _status(error) not in (403, 404):  # kept by the bucket, or gone meanwhile
                            raise
            return count

    @contextmanager
    def _speaking(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._said(key, error) from None
        except (NoCredentialsError, PartialCredentialsError):
            raise self._no_credentials() from None
        except (ConnectionError, HTTPClientError) as error:
            raise StorageError(
                f"the endpoint of s3://{self.bucket} cannot be reached: {printable(str(error))}",
                next="check AWS_ENDPOINT_URL_S3, then push again",
            ) from None
        except BotoCoreError as error:
            raise StorageError(
                f"s3://{self.bucket} cannot be used: {printable(str(error))}", next="check the AWS_… variables"
            ) from None

    def _no_credentials(self) -> StorageError:
        return StorageError(
            f"there are no credentials for s3://{self.bucket}, or only one half of them",
            next="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )

    def _said(self, key: str, error: ClientError) -> StorageError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = _status(error)
        if code == "NoSuchBucket":
            return StorageError(
                f"there is no bucket {self.bucket!r} at {self._endpoint}",
                next="create it, or mend TENANTS_STORE",
            )
        if code in ("NoSuchKey", "404"):
            return StorageError(f"{self.place(key)} is not there", next="see what is: tenants snapshots")
        if code in ("PreconditionFailed", "ConditionalRequestConflict") or status == 412:
            return AlreadyThere(f"{self.place(key)} exists already")
        if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken") or status == 401:
            return StorageError(
                f"{self._endpoint} does not accept the credentials ({printable(code)})",
                next="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )
        if code == "RequestTimeTooSkewed":
            return StorageError(
                f"{self._endpoint} refuses us since its clock and ours are too far apart",
                next="let this machine's clock be set by NTP: timedatectl set-ntp true",
            )
        if code == "ObjectLockedByBucketPolicy":
            return StorageError(
                f"a lock rule of the bucket keeps {self.place(key)} as it is",
                next="wait until the rule lets go of it; what is not needed any more stays until then",
            )
        if status == 403:
            return StorageError(
                f"the credentials may not do that in bucket {self.bucket!r} ({error.operation_name})",
                next="give their token read and write on objects of this bucket",
            )
        return StorageError(
            f"{self._endpoint} answered {status} to {error.operation_name} of {self.place(key)}: {printable(code)}",
            next="try again, then look at the provider's status page",
        )


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _may_be_done(error: ClientError) -> bool:
    """Whether it was refused only because it was sent again, and the first one may have been done."""
    return bool(error.response.get("ResponseMetadata", {}).get("RetryAttempts")) and _status(error) in AGAIN


class _Upload:
    """A multipart upload in equal parts, one of which is on its way while the next one is filled; a single PUT if all
    of it fits into one."""

    def __init__(self, client: S3Client, bucket: str, key: str, thread: Executor) -> None:
        self._client, self._thread = client, thread
        self._target: Any = {"Bucket": bucket, "Key": key}
        self._buffer = bytearray()
        self._id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self._size = 0
        self._sending: Future[None] | None = None

    def write(self, data: bytes, /) -> None:
        self._size += len(data)
        self._buffer += data
        while len(self._buffer) >= PART:
            self._wait()
            with memoryview(self._buffer) as buffer:
                part = bytes(buffer[:PART])
            del self._buffer[:PART]
            self._sending = self._thread.submit(self._send, part)

    def _wait(self) -> None:
        """Until the part that is on its way is there. Raises what came of it."""
        if self._sending:
            self._sending.result()
            self._sending = None

    def _send(self, part: bytes) -> None:
        if self._id is None:
            self._id = self._client.create_multipart_upload(**self._target)["UploadId"]
        number = len(self._parts) + 1
        answer = self._client.upload_part(**self._target, UploadId=self._id, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def complete(self) -> None:
        self._wait()
        if self._id is not None and self._buffer:
            self._send(bytes(self._buffer))
        try:
            if self._id is None:
                self._client.put_object(**self._target, Body=bytes(self._buffer))
            else:
                self._client.complete_multipart_upload(
                    **self._target, UploadId=self._id, MultipartUpload={"Parts": self._parts}
                )
        except ClientError as error:
            if not _may_be_done(error) or self._client.head_object(**self._target)["ContentLength"] != self._size:
                raise

    def abort(self) -> None:
        if self._sending:  # or it would come after the end
            wait([self._sending])
        if self._id is not None:
            with suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**self._target, UploadId=self._id)
