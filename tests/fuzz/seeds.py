"""Writes seeds for the fuzz targets, made from tests/data/token_responses.jsonl: seeds.py DIRECTORY."""

import base64
import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
CASES = [json.loads(line) for line in (HERE / "../data/token_responses.jsonl").read_text().splitlines()]
OUT = pathlib.Path(sys.argv[1])


def seed(target, name, data):
    directory = OUT / target
    directory.mkdir(parents=True, exist_ok=True)
    # Longer ones are padding, and slow everything down.
    if len(data) <= 4096:
        (directory / name).write_bytes(data)


def chunk(data):
    """As Input::chunk reads it."""
    data = data[:255]
    return bytes([len(data)]) + data


for case in CASES:
    name, body = case["name"], base64.b64decode(case["body_b64"])
    is_form = "form" in (case["content_type"] or "") and not body.startswith(b"{")
    statuses = {200: 0, 201: 1, 400: 2, 503: 3}
    how = (1 if is_form else 0) | statuses.get(case["status"], 0) << 4
    seed("reader", name, bytes([how, 255]) + body)
    seed("reader", name + "-nested", bytes([how | 4, 128]) + b'{"data":' + body.replace(b"access_token", b"token") + b"}")
    seed("differential", name, body)
    try:
        text = json.loads(body)
    except (ValueError, RecursionError):
        text = None
    if isinstance(text, dict) and "error" in text:
        description = str(text.get("error_description") or "").encode()
        for echo in range(12):
            marked = description + bytes([1, echo]) + b" and " + bytes([2, echo])
            seed("refusal", f"{name}-{echo}", bytes([echo, echo % 4]) + chunk(b"s3cr\"t/&+ <%") + chunk(b"p w\\'\xc3\xa9")
                 + chunk(str(text["error"]).encode()) + marked)
    elif case["status"] != 200:
        seed("refusal", name, bytes([0x80, 1]) + chunk(b"secret") + chunk(b"password") + chunk(b"") + body)

for status in range(10):
    for how in range(4):
        body = b'{"access_token":"t","expires_in":60}'
        texts = [b"120", b"Sun, 06 Nov 1994 08:49:37 GMT", b"https://user:pw@as.example/login?code=x#y", b"text/html"]
        if how == 1:
            texts = [bytes([0, 7, 90, 1, 255, 0, 7, 90, 1, 7]), chunk(texts[2]), chunk(texts[3])]
            data = b"".join(texts)
        elif how == 2:
            data = bytes([0, 7, 90, 1, 255]) + b"".join(chunk(text) for text in texts[1:])
        elif how == 3:
            data = bytes([0, 7, 90, 1, 255]) + b"".join(chunk(text) for text in texts[1:])
        else:
            data = chunk(b"Sun, 06 Nov 1994 09:49:37 GMT") + b"".join(chunk(text) for text in texts[1:])
        seed("headers", f"{status}-{how}", bytes([status, how]) + data + body)

FORMS = [
    b"identity=x&credentials=y&written=1&until=2&token=t&deadline=9&fetched=1&renew=2&failures=0&refusals=0",
    b"token=abc&type=Bearer&scope=a%20b&members=session.id%3D7&deadline=5000000000000&fetched=900000000000&renew=3000000000000",
    b"type=mac&scope=%E2%80%AE&members=a%3Db%26c%3D%2541",
    b"refresh=r&used=&failures=3&refusals=1&pause=2000000000000&calm=3000000000000&refused=request&kind=refused&message=no&hint=h&status=400&code=invalid_client&description=d&retryable=",
    b"pause=18446744073709551615&kind=wait&message=a%0Ab&code=%1B%5B31m",
    b"deadline=18446744073709551616&fetched=-1&renew=1e3&token=%00",
    b"00000000-0000-0000-0000-000000000000\n" + b"0" * 64,
]
for how in range(6):
    for index, form in enumerate(FORMS):
        seed("store_file", f"{how}-{index}", bytes([how]) + form)
        seed("store_file", f"{how}-{index}-then", bytes([how + 0x84]) + form)

DESCRIPTIONS = [
    {"url": "https://as.example/token", "params": "json", "auth": "client_secret_post", "allow_http": False},
    {"dialect": "json-credentials", "environments": {"eu": "https://eu.a.example/", "us": "https://us.a.example"},
     "environment": "eu", "path": "/api/v2/oauth2/token"},
    {"dialect": "bearer-session", "url": "https://b.example/x?a=b", "keep": ["session.id"], "revoke": "delete"},
    {"dialect": "form-credentials", "url": "http://127.0.0.1:8080/t", "scope_required": True, "basic_raw": True},
    {"dialect": "user-credentials", "url": "https://[::1]:443/", "method": "GET", "omit_grant_type": True},
    {"url": "https://e.example/", "grant": "urn:ietf:params:oauth:grant-type:device_code", "method": "POST",
     "param": {"audience": "x", "resource": ["y", "z"]}, "header": {"X-Key": "a b", "User-Agent": "u/1"}},
    {"url": "https://e.example/", "field": "data.token", "lifetime": 3600},
    {"url": "https://e.example/", "field": {"access_token": "a.b", "expires_in": "ttl", "scope": "s", "token_type": "t"},
     "lifetime": {"absent": 60, "zero": "once", "unit": "minutes", "maximum": 86400}},
    {"url": "https://{tenant}.example/{v}/t?q={q}", "var": {"tenant": "a", "v": "b/c", "q": "d&e"}, "method": "PUT",
     "params": "json", "param": {"a": [1, None, {"b": "{q}"}], "c": False}, "api": "X-Token: {token}",
     "header": {"X-Sig": "{sha256:{base64:{random}{now:YYYY-MM-DD}{client_secret}}}", "X-At": "{now+7d:unix}"}},
    {"url": "https://e.example/", "field": {"access_token": "header:X-Token", "expires_at": "expires_at"}},
    {"url": "https://e.example/", "field": "cookie:sid", "refused_if": {"code": {"not": 0}, "success": [False, "no"]}},
    {"url": "https://e.example/", "field": "", "lifetime": {"absent": "1h", "jwt": True, "trust_clock": True}},
    {"url": "https://e.example/", "field": "0.token", "lifetime": {"unit": "text"}, "api": "Cookie: a={token}",
     "refresh": {"with": "token", "url": "https://e.example/r", "header": {"Authorization": "Bearer {token}"}}},
]
for index, description in enumerate(DESCRIPTIONS):
    text = json.dumps(description).encode()
    seed("description", str(index), text)
    profile = json.dumps(description | {"client_id": "c", "client_secret_file": "s", "scope": ["a", "b"]}).encode()
    for verb in [b"token", b"revoke", b"keep\n--file\nf"]:
        seed("options", f"profile-{index}-{verb[:5].decode()}", verb + b"\nname\n-v\0" + profile)

# The options of the command's table, each with some value.
URL = b"token\n--url\nhttps://as.example/token\n"
TABLE = (HERE / "../../src/bin/keyfob/options.rs").read_text()
OPTIONS = re.findall(r'\brow\(\s*"([a-z-]+)"', TABLE)
assert len(OPTIONS) > 40, "the table of options is written in another way"
for option in OPTIONS:
    for name in [option, f"{option}-file", f"{option}-env"]:
        for value in [b"", b"\nx", b"\n7", b"\nf=s", b"\nX: f", b"=json"]:
            seed("options", f"{name}-{value[:4].hex()}", URL + b"--" + name.encode() + value)
for index, words in enumerate([b"\x02", b"token\n--client-secret\n\x02", b"token\n--client-secret=\x02", b"keep\n--password=\x02",
                               b"parse\n--status\n200", b"help", b"-V", b"token\n--param\nclient_secret=s",
                               b"token\na\nb", b"token\n-x", b"token\n--grant\nrefresh_token\n--refresh-token-file\nf"]):
    seed("options", f"words-{index}", words)

OK = b"HTTP/1.1 200 OK\r\n"
BODY = b'{"access_token":"t","expires_in":60}'
ANSWERS = [
    OK + b"Content-Length: 36\r\nX: y\r\n\r\n" + BODY,
    OK + b"Content-Length: 36\r\nContent-Length: 36\r\n\r\n" + BODY + b"HTTP/1.1 500 No\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\nA;x\r\n" + BODY[:10] + b"\r\n1a \r\n" + BODY[10:] + b"\r\n0\r\nX: y\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, Chunked\r\nContent-Length: 3\r\n\r\n24\n" + BODY + b"\n0\n\n",
    b"HTTP/1.0 200 OK\nTransfer-Encoding: chunked\nDate: x\n\n" + BODY,
    b"\r\nHTTP/1.1 103 Early\r\nlink: <a>\r\n b\r\n\r\nHTTP/1.1 100\r\n\r\n" + OK + b"X:a\r\n\tb\r\nContent-Length:0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 101 Odd\r\n\r\n", b"HTTP/1.1 304\r\nContent-Length: 9\r\n\r\n",
    OK + b"Content-Length: 1048576\r\n\r\n ", OK + b"Content-Length: 1048577\r\n\r\n ", OK + b"\r\n ",
    OK + b"Transfer-Encoding: chunked\r\n\r\n+12\r\n", OK + b"X: ", b"HTTP/2 200\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b"SSH-2.0-x\r\n",
]
for index, answer in enumerate(ANSWERS):
    for head in [b"\xff\0\0", b"\0\0\x30", b"\x10\0\x50"]:
        seed("answer", f"{index}-{head.hex()}", head + answer)

# The first byte picks an algorithm, 0 none.
for path in sorted((HERE / "../data/jwt").iterdir()):
    for algorithm in range(8):
        seed("keys", f"{path.name}-{algorithm}", bytes([algorithm]) + path.read_bytes())
