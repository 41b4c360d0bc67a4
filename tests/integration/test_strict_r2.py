"""The R2 of the tests is strict itself: each thing that R2 refuses is tried here, and so is each switch."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ResponseStreamingError
from strict_r2 import MIB, Fault
from support import Bucket

KEY = "server/fruits/one"
SCOPE = "AWS4-HMAC-SHA256 Credential=AKIATEST/20261123/{}/s3/aws4_request, SignedHeaders=host, Signature=00"


def client(bucket: Bucket, region: str = "auto", **config: Any) -> Any:
    """boto3 as it comes, unless `config` says more."""
    return boto3.client(
        "s3",
        endpoint_url=bucket.endpoint,
        region_name=region,
        aws_access_key_id="AKIATESTTESTTESTTEST",
        aws_secret_access_key="storage-secret-of-the-tests",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **config),
    )


def tame(bucket: Bucket, **more: Any) -> Any:
    """boto3 as R2 wants it."""
    return client(bucket, request_checksum_calculation="when_required", **more)


def refused(call: Callable[[], object], status: int, code: str) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    answer = caught.value.response
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (status, code)
    return str(answer["Error"].get("Message"))


def raw(bucket: Bucket, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    """A request with these headers, underscores for hyphens, and nothing else."""
    connection = http.client.HTTPConnection(urlsplit(bucket.endpoint).netloc)
    sent = {"Authorization": SCOPE.format("auto")} | {n.replace("_", "-"): value for n, value in headers.items()}
    connection.request(method, path, body, sent)
    with connection.getresponse() as answer:
        text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_what_boto3_does_by_itself_is_refused_and_what_it_does_when_told_is_not(bucket: Bucket) -> None:
    place = {"Bucket": bucket.name, "Key": KEY}
    said = refused(lambda: client(bucket).put_object(**place, Body=b"x"), 501, "NotImplemented")
    assert "checksum" in said
    upload = tame(bucket).create_multipart_upload(**place)["UploadId"]
    part: dict[str, Any] = {**place, "UploadId": upload, "PartNumber": 1, "Body": b"x"}
    refused(lambda: client(bucket).upload_part(**part), 501, "NotImplemented")
    summed = {**place, "ChecksumAlgorithm": "CRC32"}
    refused(lambda: tame(bucket).create_multipart_upload(**summed), 501, "NotImplemented")
    some: Any = {"Bucket": bucket.name, "Delete": {"Objects": [{"Key": KEY}]}}
    refused(lambda: client(bucket).delete_objects(**some), 501, "NotImplemented")
    assert bucket.keys() == []
    tame(bucket).put_object(**place, Body=b"x")
    tame(bucket).upload_part(**part)
    assert bucket.keys() == [KEY]


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_trailer": "x-amz-checksum-crc32"},
        {"x_amz_sdk_checksum_algorithm": "CRC32"},
        {"x_amz_checksum_crc32": "AAAAAA=="},
        {"content_encoding": "aws-chunked"},
        {"x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"},
        {"x_amz_content_sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
        {"x_amz_acl": "private"},
        {"x_amz_grant_read": "id=1"},
        {"x_amz_tagging": "a=b"},
        {"x_amz_object_lock_mode": "GOVERNANCE"},
        {"x_amz_object_lock_retain_until_date": "2030-01-01T00:00:00Z"},
        {"x_amz_object_lock_legal_hold": "ON"},
        {"x_amz_server_side_encryption": "aws:kms"},
        {"x_amz_server_side_encryption_aws_kms_key_id": "1"},
        {"x_amz_expected_bucket_owner": "1"},
        {"x_amz_storage_class": "GLACIER"},
    ],
    ids=lambda headers: "-".join(f"{name}={value}" for name, value in headers.items()),
)
def test_headers_that_r2_does_not_implement_are_refused(bucket: Bucket, headers: dict[str, str]) -> None:
    for path in (KEY, f"{KEY}?partNumber=1&uploadId=1"):
        status, text = raw(bucket, "PUT", f"/{bucket.name}/{path}", b"x", **headers)
        assert (status, "<Code>NotImplemented</Code>" in text) == (501, True), text
    assert bucket.keys() == []
    assert raw(bucket, "PUT", f"/{bucket.name}/{KEY}", b"x", x_amz_storage_class="STANDARD_IA")[0] == 200


@pytest.mark.parametrize("name", ["acl", "tagging", "retention", "legal-hold", "versions", "policy", "object-lock"])
def test_subresources_that_r2_does_not_implement_are_refused(bucket: Bucket, name: str) -> None:
    for method in ("GET", "PUT"):
        for path in (bucket.name, f"{bucket.name}/{KEY}"):
            status, text = raw(bucket, method, f"/{path}?{name}")
            assert (status, "<Code>NotImplemented</Code>" in text) == (501, True), text


def test_a_stream_without_its_length_is_refused(bucket: Bucket) -> None:
    connection = http.client.HTTPConnection(urlsplit(bucket.endpoint).netloc)
    connection.request("PUT", f"/{bucket.name}/{KEY}", iter([b"x"]), {"Authorization": SCOPE.format("auto")})
    with connection.getresponse() as answer:
        assert (answer.status, b"MissingContentLength" in answer.read()) == (411, True)
    connection.close()


@pytest.mark.parametrize(
    ("sizes", "code"),
    [
        ([5 * MIB, 6 * MIB, 1], "InvalidPart"),
        ([6 * MIB, 5 * MIB, 1], "InvalidPart"),
        ([5 * MIB, 5 * MIB + 1], "InvalidPart"),
        ([5 * MIB - 1, 1], "EntityTooSmall"),
        ([5 * MIB, 5 * MIB, 1], None),
        ([5 * MIB, 5 * MIB], None),
        ([1], None),
    ],
)
def test_parts_are_equal_but_the_last_which_is_no_larger(bucket: Bucket, sizes: list[int], code: str | None) -> None:
    place: Any = {"Bucket": bucket.name, "Key": KEY}
    place["UploadId"] = tame(bucket).create_multipart_upload(**place)["UploadId"]
    parts = [
        {"PartNumber": n, "ETag": tame(bucket).upload_part(**place, PartNumber=n, Body=b"x" * size)["ETag"]}
        for n, size in enumerate(sizes, 1)
    ]

    def complete(parts: list[dict[str, Any]]) -> object:
        return tame(bucket).complete_multipart_upload(**place, MultipartUpload={"Parts": parts})

    refused(lambda: complete([*parts, {"PartNumber": 10, "ETag": '"none"'}]), 400, "InvalidPart")
    if code:
        refused(lambda: complete(parts), 400, code)
    else:
        complete(parts)
    assert bucket.keys() == ([] if code else [KEY])


def test_there_are_ten_thousand_parts_at_most(bucket: Bucket) -> None:
    place: Any = {"Bucket": bucket.name, "Key": KEY}
    place["UploadId"] = tame(bucket).create_multipart_upload(**place)["UploadId"]
    tame(bucket).upload_part(**place, PartNumber=10_000, Body=b"x")
    refused(lambda: tame(bucket).upload_part(**place, PartNumber=10_001, Body=b"x"), 400, "InvalidArgument")


def test_metadata_has_its_limit(bucket: Bucket) -> None:
    def put(size: int) -> None:
        tame(bucket).put_object(Bucket=bucket.name, Key=f"{size}", Body=b"x", Metadata={"note": "x" * (size - 4)})

    put(8192)
    refused(lambda: put(8193), 400, "MetadataTooLarge")


def test_a_key_is_not_written_again_at_once(bucket: Bucket) -> None:
    bucket.switches.pause(1000)
    tame(bucket).put_object(Bucket=bucket.name, Key=KEY, Body=b"first")
    refused(lambda: tame(bucket).put_object(Bucket=bucket.name, Key=KEY, Body=b"x"), 429, "TooManyRequests")
    tame(bucket).put_object(Bucket=bucket.name, Key="another", Body=b"x")
    bucket.switches.pause(0)
    tame(bucket).put_object(Bucket=bucket.name, Key=KEY, Body=b"second")


def test_a_key_that_has_to_be_new_is_not_written_when_it_is_there(bucket: Bucket) -> None:
    bucket.switches.pause(0)
    new: Any = {"Bucket": bucket.name, "Key": KEY, "IfNoneMatch": "*"}
    tame(bucket).put_object(**new, Body=b"first")
    refused(lambda: tame(bucket).put_object(**new, Body=b"second"), 412, "PreconditionFailed")
    assert bucket.client().get_object(Bucket=bucket.name, Key=KEY)["Body"].read() == b"first"


def test_a_bucket_lock_rule_keeps_what_is_below_its_prefix(bucket: Bucket) -> None:
    bucket.switches.pause(0)
    for key in (KEY, "another"):
        tame(bucket).put_object(Bucket=bucket.name, Key=key, Body=b"x")
    bucket.switches.lock("server/")
    place: Any = {"Bucket": bucket.name, "Key": KEY}
    refused(lambda: tame(bucket).delete_object(**place), 403, "ObjectLockedByBucketPolicy")
    refused(lambda: tame(bucket).put_object(**place, Body=b"y"), 403, "ObjectLockedByBucketPolicy")
    refused(lambda: tame(bucket).put_object(**place, Body=b"y", IfNoneMatch="*"), 412, "PreconditionFailed")
    tame(bucket).delete_object(Bucket=bucket.name, Key="another")
    tame(bucket).put_object(Bucket=bucket.name, Key="server/fruits/two", Body=b"x")
    assert bucket.keys() == [KEY, "server/fruits/two"]
    bucket.switches.behave()
    tame(bucket).delete_object(**place)


def test_the_region_is_auto_or_what_stands_for_it(bucket: Bucket) -> None:
    for region in ("auto", "us-east-1", "weur"):
        tame(bucket, region=region).head_bucket(Bucket=bucket.name)
    bad = tame(bucket, region="eu-central-1")
    assert "auto" in refused(lambda: bad.list_objects_v2(Bucket=bucket.name), 400, "InvalidRegionName")


def test_nobody_is_served_without_credentials(bucket: Bucket) -> None:
    status, text = raw(bucket, "GET", f"/{bucket.name}", Authorization="")
    assert (status, "Unauthorized" in text) == (401, True)


def test_a_bucket_is_found_by_its_path_and_by_its_host(bucket: Bucket) -> None:
    for path, host in ((f"/{bucket.name}/a%20b", "127.0.0.1"), ("/c%20d", f"{bucket.name}.localhost")):
        assert raw(bucket, "PUT", path, b"x", Host=host)[0] == 200
        assert raw(bucket, "GET", path, Host=host) == (200, "x")
    assert bucket.keys() == ["a b", "c d"]
    bucket.switches.misbehave(status=503, code="ServiceUnavailable")
    assert raw(bucket, "GET", "/c%20d", Host=f"{bucket.name}.localhost")[0] == 503


def get(bucket: Bucket, key: str = KEY) -> bytes:
    return bytes(tame(bucket).get_object(Bucket=bucket.name, Key=key)["Body"].read())


def test_it_answers_badly_to_the_requests_that_a_test_names_and_to_no_others(bucket: Bucket) -> None:
    for key in (KEY, "another"):
        tame(bucket).put_object(Bucket=bucket.name, Key=key, Body=b"x")
    bucket.switches.misbehave(operation="GetObject", key="fruits", skip=1, times=2, status=503, code="Unavailable")
    assert get(bucket) == b"x"
    refused(lambda: get(bucket), 503, "Unavailable")
    assert get(bucket, "another") == b"x"
    refused(lambda: get(bucket), 503, "Unavailable")
    assert get(bucket) == b"x"
    assert bucket.switches.requests()[-5:] == ["GetObject"] * 5
    bucket.switches.misbehave(operation="Delete.*", status=403, code="AccessDenied")
    refused(lambda: tame(bucket).delete_object(Bucket=bucket.name, Key=KEY), 403, "AccessDenied")
    bucket.switches.behave()
    tame(bucket).delete_object(Bucket=bucket.name, Key=KEY)
    assert bucket.keys() == ["another"]


def test_it_loses_an_answer_or_an_object_when_a_test_asks_for_it(bucket: Bucket) -> None:
    bucket.switches.misbehave(operation="PutObject", key="done", status=500, code="InternalError", done=True)
    bucket.switches.misbehave(operation="PutObject", key="forgotten", forget=True)
    refused(lambda: tame(bucket).put_object(Bucket=bucket.name, Key="done", Body=b"x"), 500, "InternalError")
    answer = tame(bucket).put_object(Bucket=bucket.name, Key="forgotten", Body=b"x")
    assert answer["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"'
    assert bucket.keys() == ["done"]


@pytest.mark.parametrize(
    ("body", "comes"),
    [("flip", b"aabbbcdd"), ("short", b"aabb"), ("drop", b"aaccdd"), ("swap", b"bbaaccdd"), ("", b"aabbccdd")],
)
def test_it_spoils_a_body_without_saying_so(bucket: Bucket, body: str, comes: bytes) -> None:
    tame(bucket).put_object(Bucket=bucket.name, Key=KEY, Body=b"aabbccdd")
    bucket.switches.misbehave(operation="GetObject", times=1, body=body, part=2, seconds=0.01)
    assert get(bucket) == comes
    assert get(bucket) == b"aabbccdd"


def test_it_ends_the_connection_half_way(bucket: Bucket) -> None:
    tame(bucket).put_object(Bucket=bucket.name, Key=KEY, Body=b"aabbccdd")
    bucket.switches.misbehave(operation="GetObject", body="cut")
    with pytest.raises(ResponseStreamingError, match="4 bytes read, 4 more expected"):
        get(bucket)


def test_a_fault_that_nobody_knows_is_no_fault() -> None:
    with pytest.raises(TypeError):
        Fault(statsu=500)  # type: ignore[call-arg]
