from __future__ import annotations

import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from zdb.redact import REDACTED, redact_argv, redact_text, redact_url

NAMES = [
    "password",
    "passwd",
    "pwd",
    "db_password",
    "PGPASSWORD",
    "userPassword",
    "passphrase",
    "secret",
    "client_secret",
    "AWS_SECRET_ACCESS_KEY",
    "aws_session_token",
    "token",
    "HF_TOKEN",
    "accessToken",
    "api_key",
    "apiKey",
    "x_api_key",
    "private_key",
    "account_key",
    "credentials",
    "auth",
    "authorization",
    "db_pass",
    "cookie",
    "storage_options",
    "client_kwargs",
    "connection_string",
]
PRINTABLE = "".join(chr(c) for c in range(32, 127))
# What may stand between quotes without escapes, and what may be one word of a shell.
LITERALS = st.text(set(PRINTABLE) - set("\"'\\") | set("äß漢"), min_size=8, max_size=40)
WORDS = st.text(set(PRINTABLE) - set("\"'\\ `"), min_size=8, max_size=40)
URL_SAFE = st.text(string.ascii_letters + string.digits + "-._~%+", min_size=8, max_size=40)

CODE = [
    '{name} = "{secret}"',
    "{name}='{secret}'",
    'config.{name} = r"{secret}"',
    '{name}: str = "{secret}"',
    'self.{name}, self.user = "{secret}", "me"',
    'user, {name} = "me", "{secret}"',
    '(user, {name}) = ("me", "{secret}")',
    '{name} = (\n    "{secret}"\n    "more"\n)',
    '{name} = """{secret}"""',
    '{name} = """\n{secret}\n"""',
    '{name} = \\\n    "{secret}"',
    '{name} = base64.b64decode("{secret}").decode()',
    '{name} = get() or "{secret}"',
    '{name} = ["a", "{secret}"]',
    'connect("host", user="me", {name}="{secret}", port=22)',
    'connect(\n    "host",\n    {name}="{secret}",\n)',
    'connect({name} = f"{secret}")',
    'd = {{"user": "me", "{name}": "{secret}", "n": 3}}',
    "d = {{'{name}': {{'a': ['b', '{secret}']}}}}",
    'd["{name}"] = "{secret}"',
    'os.environ["{name}"] = "{secret}"',
    'os.environ.setdefault("{name}", "{secret}")',
    'os.getenv("{name}", "{secret}")',
    'set_{name}("service", "me", "{secret}")',
    'subprocess.run(["x", "--{name}", "{secret}"])',
    'subprocess.run(["x", "--{name}={secret}"])',
    'dict(zip(["user", "{name}"], ["me", "{secret}"]))',
    'if {name} == "{secret}":\n    pass',
    'x = 1; {name} = "{secret}"',
    'def f({name}="{secret}", n=3):\n    return n',
    "# {name}: {secret}\nx = 1",
    "x = 1  # the {name} is {secret}",
    'text = "{name}: {secret}"',
    'text = "host=h {name}={secret} dbname=d"',
    'text = """\n[default]\n{name} = {secret}\n"""',
    'open_zarr(url, storage_options={{\n    "anon": False,\n    "x": "{secret}",\n}})',
    'fs = S3FileSystem(key="{secret}", secret="{secret}")',
    'opts = dict(key="{secret}", secret="x")',
    'request(headers={{"Authorization": "Basic {secret}"}})',
    'login("me", "{secret}")',
    '{name} = "{secret}"\nthis is not python',
    'storage_options = {{\n  "key": "{secret}"\n}}\nthis is not python',
]
LINES = [
    "!mysql --user me --{name} {secret}",
    "!tool --{name}={secret}",
    "%env {name}={secret}",
    "%env {name} {secret}",
    "x = !tool --{name} {secret}",
    "%%bash\nexport {name}={secret}\nls",
    "%%bash\nls\ntool --{name} {secret}",
    "%%writefile settings.yml\n{name}: {secret}",
    "%%writefile settings.yml\n{name}:\n  {secret}",
    "%%writefile settings.yml\ns3:\n  {name}: |\n    a\n    {secret}\n\n    {secret}\n  b: c",
    "%%writefile settings.ini\n[section]\n{name} = {secret}\n",
    "for x in y:\n    !tool --{name} {secret}",
    "{name}: {secret}\nand other text",
    '{{"{name}": "{secret}",\n not json',
    "!curl -H 'Authorization: Bearer {secret}' https://example.org",
    "!curl -u me:{secret} https://example.org",
    "!sshpass -p {secret} ssh host",
    "!mysql -u root -p{secret}",
]
URLS = [
    "https://{secret}@example.org/x",
    "https://me:{secret}@example.org/x",
    "redis://:{secret}@example.org:6379/0",
    "https://{secret}:x-oauth-basic@github.com/o/r.git",
    "https://example.org/x?a=1&token={secret}",
    "https://bucket.example.org/x?X-Amz-Signature={secret}&b=2",
    "https://example.org/x#access_token={secret}",
    "git+https://me:{secret}@example.org/x.git@main",
]
SHAPES = {
    "AWS key id": st.text(string.ascii_uppercase + string.digits, min_size=16, max_size=16).map(
        lambda text: f"AKIA{text}"
    ),
    "AWS secret": st.text(string.ascii_letters + string.digits + "/+", min_size=38, max_size=38).map(
        lambda text: f"aZ{text}"
    ),
    "GitHub": st.text(string.ascii_letters + string.digits, min_size=36, max_size=36).map(lambda text: f"ghp_{text}"),
    "Hugging Face": st.text(string.ascii_letters, min_size=34, max_size=34).map(lambda text: f"hf_{text}"),
    "web token": st.text(string.ascii_letters + "-_", min_size=12, max_size=30).map(
        lambda text: f"eyJ{text}.{text}.{text}"
    ),
}


def assert_gone(secret: str, redacted: str, rest: str) -> None:
    """No six characters of the secret are left, but those that stand elsewhere too."""
    pieces = {secret[i : i + 6] for i in range(len(secret) - 5)}
    left = [piece for piece in pieces if piece in redacted and piece not in rest]
    assert not left, redacted


@pytest.mark.parametrize("template", CODE)
@given(name=st.sampled_from(NAMES), secret=LITERALS)
def test_no_secret_of_python_code_survives(template, name, secret):
    rest = template.format(name=name, secret="") + REDACTED
    assert_gone(secret, redact_text(template.format(name=name, secret=secret)), rest)


@pytest.mark.parametrize("template", LINES)
@given(name=st.sampled_from(NAMES), secret=WORDS)
def test_no_secret_of_other_text_survives(template, name, secret):
    rest = template.format(name=name, secret="") + REDACTED
    assert_gone(secret, redact_text(template.format(name=name, secret=secret)), rest)


@pytest.mark.parametrize("before", ["", "url = '", "!git clone ", "see ", "%%bash\ncurl "])
@pytest.mark.parametrize("template", URLS)
@given(secret=URL_SAFE)
@example(secret="abc@def/ghi:jkl")
def test_no_secret_of_a_url_survives(template, before, secret):
    if "@example" not in template and "@github" not in template:
        assume("@" not in secret)
    text = before + template.format(secret=secret) + ("'" if before.endswith("'") else "")
    rest = before + template.format(secret="") + REDACTED
    assert_gone(secret, redact_text(text), rest)
    url = redact_url(template.format(secret=secret))
    assert_gone(secret, url, rest)
    assert "me:" not in url


@pytest.mark.parametrize("template", ['x = "{}"', "f({}, 1)", "# {}", "!tool {} y", "{}"])
@pytest.mark.parametrize("kind", SHAPES)
@given(data=st.data())
def test_no_known_shape_survives_anywhere(kind, template, data):
    secret = data.draw(SHAPES[kind])
    assert_gone(secret, redact_text(template.format(secret)), template + REDACTED)


@pytest.mark.parametrize("kind", ["", "RSA ", "OPENSSH ", "EC ", "ENCRYPTED "])
def test_private_keys_are_cut_out(kind):
    key = f"-----BEGIN {kind}PRIVATE KEY-----\nMIIabc123\nxyz\n-----END {kind}PRIVATE KEY-----"
    assert redact_text(f'k = """{key}"""\ny = 1') == f'k = """{REDACTED}"""\ny = 1'
    assert "MIIabc" not in redact_text(f"k = '''{key[:50]}")
    pgp = "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc\n-----END PGP PRIVATE KEY BLOCK-----"
    assert redact_text(pgp) == REDACTED


@pytest.mark.parametrize(
    "code",
    [
        "import zdb\n\ndb = zdb.open('s3://bucket/results.zdb')\ndb['soma/v'] = np.zeros((2, 3))",
        "author = 'me'; low_pass = 300\nfiltered = band_pass(v, 300, 6000)",
        "# one pass over the data\nfor x in range(1000):\n    pass",
        "sorted(rows, key='name')\ndf['trial'] == 'a@b'\nA @ B",
        "%matplotlib inline\n%timeit np.sum(x)\n!ls -la /data\nx?",
        "text = f'{x:%Y-%m-%d} {y}'\nprint('a=%d' % 3)",
        "commit = '0123456789abcdef0123456789abcdef01234567'",
        "token = tokens[0]\ntokens = [f(t) for t in tokens]",
        "password = getpass()\npassword = None\npassword = ''",
        "url = 'https://example.org:8080/a?x=1#top'\npip = 'git+https://github.com/o/r@v1'",
        "def tokenize(text):\n    return text.split('a')",
        "",
    ],
)
def test_what_is_no_secret_stays(code):
    assert redact_text(code) == code


def test_the_rest_of_a_statement_stays_readable():
    cell = 'db = zdb.open(\n    "s3://bucket/x", storage_options={"key": "A1", "secret": "B2"}, mode="r",\n)\ndb["v"]'
    assert redact_text(cell) == (
        'db = zdb.open(\n    "s3://bucket/x", storage_options={"<redacted>": "<redacted>",'
        ' "<redacted>": "<redacted>"}, mode="r",\n)\ndb["v"]'
    )
    assert redact_text('f(user="me", password="x", n="y")') == ('f(user="me", password="<redacted>", n="y")')
    assert redact_text("pin_token = 123456") == "pin_token = <redacted>"


def test_a_block_of_yaml_ends_where_it_ends():
    cell = "%%writefile x.yml\ns3:\n  token: |\n    a\n    b\n  name: c"
    assert redact_text(cell) == ("%%writefile x.yml\ns3:\n  token: |\n    <redacted>\n    <redacted>\n  name: c")


@given(st.text(max_size=200))
def test_any_text_can_be_redacted(text):
    assert isinstance(redact_text(text), str)
    assert isinstance(redact_url(text), str)


@pytest.mark.parametrize("name", NAMES)
@given(secret=WORDS)
def test_no_secret_argument_survives(name, secret):
    option = f"--{name}"
    argv = ["run.py", option, secret, "--out", "x", f"{option}={secret}", f"{name}={secret}"]
    redacted = redact_argv(argv)
    assert_gone(secret, " ".join(redacted), " ".join(argv).replace(secret, "") + REDACTED * 3)
    assert redacted[3:5] == ["--out", "x"]


@pytest.mark.parametrize(
    ("argv", "redacted"),
    [
        (["a.py", "--n", "3", "in.csv"], ["a.py", "--n", "3", "in.csv"]),
        (["a.py", "-p", "x", "y"], ["a.py", "-p", REDACTED, "y"]),
        (["a.py", "--auth", "me", "x", "-v"], ["a.py", "--auth", REDACTED, REDACTED, "-v"]),
        (["a.py", "--ask-password", "--token", "x"], ["a.py", "--ask-password", *[REDACTED] * 2]),
        (["a.py", "s3://u:x@host/b"], ["a.py", f"s3://{REDACTED}@host/b"]),
        (["a.py", '{"secret": "x"}'], ["a.py", f'{{"secret": "{REDACTED}"}}']),
        ([], []),
    ],
)
def test_arguments(argv, redacted):
    assert redact_argv(argv) == redacted


@pytest.mark.parametrize(
    ("url", "redacted"),
    [
        ("https://me:x@example.org/a", "https://example.org/a"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("git@github.com:o/r.git", "github.com:o/r.git"),
        ("ssh://git@host:22/r", "ssh://host:22/r"),
        ("https://me:a/b@c@example.org/r", "https://example.org/r"),
        ("/data/repository@home", "/data/repository@home"),
        ("file:///data/a@b", "file:///data/a@b"),
        ("https://h/r?token=x&b=1", f"https://h/r?token={REDACTED}&b=1"),
    ],
)
def test_urls(url, redacted):
    assert redact_url(url) == redacted
