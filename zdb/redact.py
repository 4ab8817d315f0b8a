"""Take secrets out of what provenance records: arguments of programs, URLs and notebook cells.

Too much is removed rather than too little. In Python code, string literals and long numbers that
follow a name such as ``password``, ``token`` or ``storage_options`` in the same statement are
replaced. In other text (shell lines, comments, inside of string literals, cells that are not
Python) everything that follows such a name in the same line is replaced. Credentials that are
known by their shape (user info in URLs, access keys, private key blocks) are replaced anywhere.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["REDACTED", "redact_argv", "redact_credentials", "redact_text", "redact_url"]

REDACTED = "<redacted>"

# Searched in the name in lower case, without "_", "-" and ".".
_TELLING_PART = re.compile(
    r"passw|passphrase|passcode|secret|token(?!i[sz])|credential|apikey|accesskey|privatekey"
    r"|accountkey|authkey|sshkey|sharedkey|masterkey|signingkey|encryptionkey|bearer|authoriz"
    r"|authentica|cookie|sessionid|sessionkey|connectionstring|storageoptions|clientkwargs|login"
)
# Matched with the whole name in lower case; "low_pass" and "author" are no secrets.
_TELLING_NAME = re.compile(
    r"(?:.*[_.-])?(?:pwd|pw|psw|psk|auth|creds?|otp|sas)\d*|pass\d*"
    r"|(?:.*[_.-])?(?:db|user|usr|my|mail|smtp|ftp|ssh|sudo|admin|root|redis|pg|sql|http|proxy|ldap)"
    r"[_-]?pass\d*"
)
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Ordinary words too: in running text they tell of a secret only as an option or before "=" or ":".
_ORDINARY_WORDS = {"pass", "key"}

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----.*?"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|\Z)",
    re.DOTALL,
)
_SHAPES = re.compile(
    r"""
      (?<![A-Za-z0-9])(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{12,}  # AWS key ids
    | (?<![\w/+=.-])(?=[A-Za-z0-9/+=]*[A-Z])(?=[A-Za-z0-9/+=]*[a-z])  # AWS secret keys
      [A-Za-z0-9/+=]{40}(?![\w/+=.(-])
    | \bgh[a-z]_[A-Za-z0-9]{16,} | \bgithub_pat_\w{16,} | \bglpat-[\w-]{16,}  # GitHub, GitLab
    | \bhf_[A-Za-z0-9]{16,} | \bsk-[\w-]{16,} | \bxox[a-z]-[\w-]{10,} | \bAIza[\w-]{30,}
    | \beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?  # JSON web tokens
    | (?<=/t/)[\w-]{8,}(?=/)  # conda channels
    """,
    re.VERBOSE,
)
_AFTER_WORD = re.compile(
    r"(?P<kept>\bbearer\s+|(?<!\S)(?:-u|--user|--proxy-user)[= ]\s*(?=\S+:\S)"
    r"|\bsshpass\s+-p\s*|\bmysql\w*\b.*\s-p)[^\s\"'`]+",
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"(?<=://)(?=[^\s/?#]*[:@])\S*@")
_QUERY_VALUE = re.compile(r"(?P<kept>[?&;#](?P<name>[\w.-]+)=)[^&\s\"'`#]+")
_QUERY_NAMES = {"sig", "signature", "key", "code"}

_PYTHON_TOKEN = re.compile(
    r"""
      (?P<string>(?:\b[rRbBuUfFtT]{1,2})?(?:\"{3}|'{3}|["']))
    | (?P<comment>\#[^\n]*)
    | (?P<word>[^\W\d]\w*)
    | (?P<number>\d[\w.]*)
    | (?P<comparison>[=!<>]=)
    | (?P<separator>[=:])
    | (?P<comma>,)
    | (?P<opening>[(\[{])
    | (?P<closing>[)\]}])
    | (?P<continuation>\\\n)
    | (?P<end>[\n;])
    """,
    re.VERBOSE,
)
_STRING_BODY = {
    '"': re.compile(r'(?:\\.|[^"\\\n])*"', re.DOTALL),
    "'": re.compile(r"(?:\\.|[^'\\\n])*'", re.DOTALL),
    '"""': re.compile(r'(?:\\.|.)*?(?:"""|\Z)', re.DOTALL),
    "'''": re.compile(r"(?:\\.|.)*?(?:'''|\Z)", re.DOTALL),
}
_TEXT_WORD = re.compile(r"[A-Za-z_][\w-]*")
_NAME_ONLY = re.compile(r"-{0,2}[\w.-]+")
_TEXT_SEPARATOR = re.compile(r"""["'\])}]*\s*[=:,]*\s*["']?""")
_GOES_ON_IN_NEXT_LINE = re.compile(r"[\\|>({\[+-]{0,2}\s*")
_MAGIC_LINE = re.compile(r"^(?P<indent>[ \t]*)(?:[%!?]|[\w., \[\]]+=\s*[%!]|[\w.*%]+\?{1,2}\s*$).*$", re.MULTILINE)
_CELL_MAGIC = re.compile(r"\s*%%(?P<name>\w+)")
_PYTHON_CELLS = {"time", "timeit", "capture", "prun", "px", "memit", "mprun", "python", "python3"}
_HARMLESS_REST = re.compile(r"(?:pass|return|continue|break|None|True|False|str|bytes|\.\.\.|\\)?\s*")
_LONG_NUMBER = 4


@lru_cache(maxsize=4096)
def _is_secret_name(name: str, key_is_secret: bool = False) -> bool:
    words = _CAMEL_CASE.sub("_", name.strip("-")).lower()
    joined = words.replace("_", "").replace("-", "").replace(".", "")
    return (
        _TELLING_PART.search(joined) is not None
        or _TELLING_NAME.fullmatch(words) is not None
        or (key_is_secret and joined == "key")
    )


def redact_url(url: str) -> str:
    """Return the URL without user info, and with secret query values replaced.

    Parameters
    ----------
    url
        A URL, or an address of ssh such as ``git@github.com:org/repository``.
    """
    if "://" in url:
        url = re.sub(r"(?<=://)(?=[^/?#]*[:@]).*@", "", url, flags=re.DOTALL)
    else:
        url = re.sub(r"^(?:[^/@]*:.*|[^/]*)@", "", url, flags=re.DOTALL)
    return redact_credentials(url)


def redact_credentials(text: str) -> str:
    """Replace what is known by its shape: user info and queries of URLs, and keys."""
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _USER_INFO.sub(f"{REDACTED}@", text)
    text = _QUERY_VALUE.sub(_redact_query_value, text)
    text = _AFTER_WORD.sub(rf"\g<kept>{REDACTED}", text)
    return _SHAPES.sub(REDACTED, text)


def _redact_query_value(match: re.Match[str]) -> str:
    name = match["name"]
    if name.lower().rpartition("-")[2] in _QUERY_NAMES or _is_secret_name(name):
        return f"{match['kept']}{REDACTED}"
    return match[0]


def redact_argv(argv: Sequence[str]) -> list[str]:
    """Return the arguments of a program with secrets replaced.

    All values of an option with a telling name are replaced, up to the next option; after ``-p``
    the next one.
    """
    redacted: list[str] = []
    values_left = 0.0
    first = False
    for argument in argv:
        if values_left and (first or not argument.startswith("-")):
            redacted.append(REDACTED)
            values_left -= 1
            first = False
            continue
        option, equals, _ = argument.partition("=")
        is_secret = _NAME_ONLY.fullmatch(option) is not None and _is_secret_name(option)
        values_left = math.inf if is_secret and not equals else float(argument == "-p")
        first = values_left > 0
        if is_secret:
            redacted.append(f"{option}={REDACTED}" if equals else option)
        else:
            redacted.append(redact_text(argument))
    return redacted


def redact_text(text: str) -> str:
    """Return code or other text with secrets replaced by ``<redacted>``.

    Parameters
    ----------
    text
        A notebook cell: Python, with magics and shell lines, or any other text.
    """
    key_is_secret = "secret" in text.lower()
    is_python = _is_python(text)
    text = redact_credentials(text)
    text = _CodeRedactor(text, key_is_secret).run()
    if is_python:
        return _MAGIC_LINE.sub(lambda line: _redact_lines(line[0], key_is_secret)[0], text)
    return _redact_lines(text, key_is_secret)[0]


def _is_python(text: str) -> bool:
    import ast
    import warnings

    magic = _CELL_MAGIC.match(text)
    if magic is not None and magic["name"] not in _PYTHON_CELLS:
        return False
    code = _MAGIC_LINE.sub(r"\g<indent>pass", text)
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(code, "<cell>", "exec", flags=flags, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def _redact_lines(text: str, key_is_secret: bool) -> tuple[str, bool]:
    """Replace what follows a telling word, line by line; tell whether there was such a word."""
    lines = text.split("\n")
    found = False
    # Where a value begins in the line after its name, it lasts as long as lines are indented more.
    next_line_is_secret = False
    secret_indent: int | None = None
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and (next_line_is_secret or (secret_indent is not None and indent > secret_indent)):
            lines[number] = line[:indent] + REDACTED
            next_line_is_secret = False
            continue
        if line.strip():
            secret_indent = None
        word = next((w for w in _TEXT_WORD.finditer(line) if _is_secret_word(w, line, key_is_secret)), None)
        if word is None:
            continue
        found = True
        separator = _TEXT_SEPARATOR.match(line, word.end())
        assert separator is not None
        rest = line[separator.end() :]
        if _GOES_ON_IN_NEXT_LINE.fullmatch(rest):
            next_line_is_secret = bool(rest) or "=" in separator[0] or ":" in separator[0]
            secret_indent = indent if next_line_is_secret else None
        else:
            lines[number] = line[: separator.end()] + REDACTED
    return "\n".join(lines), found


def _is_secret_word(word: re.Match[str], line: str, key_is_secret: bool) -> bool:
    if not _is_secret_name(word[0], key_is_secret):
        return False
    if word[0].lower() not in _ORDINARY_WORDS:
        return True
    return line[: word.start()].endswith("-") or bool(re.match(r"""["'\])]*\s*[=:]""", line[word.end() :]))


class _CodeRedactor:
    """Walks through Python tokens and replaces the literals that belong to a telling name.

    A telling name holds until its statement, its bracket or, once it has its value, its argument
    ends.
    """

    def __init__(self, text: str, key_is_secret: bool) -> None:
        self.text = text
        self.key_is_secret = key_is_secret
        self.pieces: list[str] = []
        self.position = 0
        self.depth = 0
        self.name_depth: int | None = None
        self.name_is_literal = False
        self.has_value = False

    def run(self) -> str:
        while match := _PYTHON_TOKEN.search(self.text, self.position):
            self.pieces.append(self.text[self.position : match.start()])
            self.position = match.end()
            assert match.lastgroup is not None
            self.pieces.append(self._token(match))
        self.pieces.append(self.text[self.position :])
        return "".join(self.pieces)

    def _token(self, match: re.Match[str]) -> str:
        kind, token = match.lastgroup, match[0]
        if kind == "string":
            return self._string(token)
        if kind == "comment":
            return _redact_lines(token, self.key_is_secret)[0]
        if kind == "word":
            if token != "pass" and _is_secret_name(token, self.key_is_secret):  # noqa: S105
                self._name(is_literal=False)
        elif kind == "number":
            if self.name_depth is not None and len(token) >= _LONG_NUMBER:
                return REDACTED
        elif kind == "separator":
            return self._separator(token)
        elif kind == "comma":
            if self.depth == self.name_depth and self.depth > 0 and self.has_value:
                self.name_depth = None
        elif kind == "opening":
            self.depth += 1
        elif kind == "closing":
            self._closing()
        elif kind == "end" and self.depth == 0:
            self.name_depth = None
        return token

    def _name(self, is_literal: bool) -> None:
        if self.name_depth is None or self.depth < self.name_depth:
            self.name_depth = self.depth
            self.name_is_literal = is_literal
            self.has_value = False

    def _string(self, opening: str) -> str:
        quote = opening.lstrip("rRbBuUfFtT")
        body = _STRING_BODY[quote].match(self.text, self.position)
        if body is None:
            return opening
        self.position = body.end()
        closing = quote if body[0].endswith(quote) else ""
        content = body[0].removesuffix(closing)
        if self.name_depth is not None:
            self.has_value = self.has_value or self.name_is_literal
            return f"{opening}{REDACTED if content else ''}{closing}"
        if _NAME_ONLY.fullmatch(content):
            if _is_secret_name(content, self.key_is_secret):
                self._name(is_literal=True)
            return f"{opening}{content}{closing}"
        content, found = _redact_lines(content, self.key_is_secret)
        if found:
            self._name(is_literal=True)
        return f"{opening}{content}{closing}"

    def _separator(self, token: str) -> str:
        if self.name_depth is None:
            return token
        if self.depth <= self.name_depth:
            self.has_value = True
        if self.depth > 0:
            return token
        end = self.text.find("\n", self.position)
        rest = self.text[self.position : end if end >= 0 else len(self.text)]
        bare = rest.lstrip()
        is_harmless = _HARMLESS_REST.fullmatch(bare) or _GOES_ON_IN_NEXT_LINE.fullmatch(bare)
        if is_harmless or re.search(r"[\"'(\[{]|\\$", bare):
            return token
        self.position += len(rest)
        return f"{token}{rest[: len(rest) - len(bare)]}{REDACTED}"

    def _closing(self) -> None:
        self.depth = max(0, self.depth - 1)
        if self.name_depth is not None and self.depth < self.name_depth:
            self.name_depth = None if self.has_value else self.depth
