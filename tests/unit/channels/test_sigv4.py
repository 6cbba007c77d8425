"""AWS's own vectors: the S3 documentation's four examples, the IAM example, and rows of the public test suite."""

from datetime import UTC, datetime

import pytest

from channels.sigv4 import AwsKey, AwsScope, sign_request

S3_KEY = AwsKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
S3_AT = datetime(2013, 5, 24, tzinfo=UTC)
BUCKET = "https://examplebucket.s3.amazonaws.com"
S3 = AwsScope("us-east-1", "s3")
S3_VECTORS = [
    (
        "GET",
        "/test.txt",
        {"Range": "bytes=0-9"},
        b"",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    (
        "PUT",
        "/test%24file.text",
        {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"},
        b"Welcome to Amazon S3.",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    ("GET", "?lifecycle", {}, b"", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    (
        "GET",
        "/?max-keys=2&prefix=J",
        {},
        b"",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
]

SUITE_KEY = AwsKey("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE_AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SUITE = AwsScope("us-east-1", "service")
SUITE_VECTORS = [
    ("get-vanilla", "GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "get-utf8",
        "GET",
        "/\u1234",  # the suite's path is encoded by signing only
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    ("post-vanilla", "POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
]


@pytest.mark.parametrize(("method", "target", "headers", "body", "signature"), S3_VECTORS)
def test_the_examples_of_the_s3_documentation(method, target, headers, body, signature):
    signed = sign_request(S3_KEY, S3, method, BUCKET + target, at=S3_AT, headers=headers, body=body)

    assert signed["Authorization"].endswith(f"Signature={signature}")
    assert signed["X-Amz-Date"] == "20130524T000000Z"


@pytest.mark.parametrize(("name", "method", "target", "signature"), SUITE_VECTORS)
def test_the_public_test_suite(name, method, target, signature):
    signed = sign_request(SUITE_KEY, SUITE, method, "https://example.amazonaws.com" + target, at=SUITE_AT)

    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
        f" SignedHeaders=host;x-amz-date, Signature={signature}"
    ), name


def test_the_example_of_the_iam_documentation():
    signed = sign_request(
        SUITE_KEY,
        AwsScope("us-east-1", "iam"),
        "GET",
        "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        at=SUITE_AT,
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )

    assert signed["Authorization"].endswith(
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_a_temporary_keys_token_is_signed_and_sent():
    key = AwsKey("AKIDEXAMPLE", "secret", "token")

    signed = sign_request(key, S3, "GET", BUCKET + "/x", at=S3_AT)

    assert signed["X-Amz-Security-Token"] == "token"
    assert "x-amz-security-token" in signed["Authorization"]
    assert "secret" not in repr(key)
