"""Verifies assertions with `cryptography`, and compares them with what the openssl command signs. Run by ../start.

verify.py PACKAGES http: a line of input is ALGORITHM KEY-FILE JWT, and one of output is `valid HEADER CLAIMS` or why it is not.
"""

import base64
import json
import subprocess
import sys
import tempfile

sys.path.insert(0, sys.argv[1])

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

SHA256 = hashes.SHA256()
PSS = padding.PSS(padding.MGF1(SHA256), padding.PSS.DIGEST_LENGTH)
# Digest, and bytes of r and of s.
CURVES = {"ES256": (SHA256, 32), "ES384": (hashes.SHA384(), 48)}


def decoded(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise ValueError("not base64url")
    return data


def members(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member twice")
    return dict(pairs)


def verify(algorithm, key, message, signature):
    if algorithm == "HS256":
        mac = hmac.HMAC(key, SHA256)
        mac.update(message)
        return mac.verify(signature)
    public = serialization.load_pem_private_key(key, None).public_key()
    if algorithm in CURVES:
        digest, size = CURVES[algorithm]
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (signature[:size], signature[size:]))
        return public.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
    if algorithm == "EdDSA":
        return public.verify(signature, message)
    return public.verify(signature, message, PSS if algorithm == "PS256" else padding.PKCS1v15(), SHA256)


def sign_with_openssl(algorithm, file, key, message):
    words = {
        "ES384": ["dgst", "-sha384", "-sign", file],
        "HS256": ["dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:" + key.hex(), "-binary"],
        "PS256": ["dgst", "-sha256", "-sign", file, "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"],
    }.get(algorithm, ["dgst", "-sha256", "-sign", file])
    with tempfile.NamedTemporaryFile() as text:
        text.write(message)
        text.flush()
        if algorithm == "EdDSA":
            words = ["pkeyutl", "-sign", "-rawin", "-inkey", file, "-in"]
        signature = subprocess.run(["openssl", *words, text.name], check=True, stdout=subprocess.PIPE).stdout
    if algorithm in CURVES:
        size = CURVES[algorithm][1]
        signature = b"".join(number.to_bytes(size, "big") for number in decode_dss_signature(signature))
    return signature


def judge(algorithm, file, jwt):
    key = open(file, "rb").read()
    message, _, signature = jwt.rpartition(".")
    header, claims = (json.loads(decoded(part), object_pairs_hook=members) for part in message.split("."))
    message, signature = message.encode(), decoded(signature)
    verify(algorithm, key, message, signature)
    other = sign_with_openssl(algorithm, file, key, message)
    verify(algorithm, key, message, other)
    # The rest are random.
    if algorithm in ("RS256", "EdDSA", "HS256") and other != signature:
        return "openssl signs otherwise"
    if len(other) != len(signature) or header["alg"] != algorithm:
        return "another length or algorithm"
    return " ".join(["valid"] + [json.dumps(part, separators=(",", ":")) for part in (header, claims)])


for line in sys.stdin:
    try:
        print(judge(*line.split()))
    except InvalidSignature:
        print("invalid signature")
    except ValueError as error:
        print(error)
