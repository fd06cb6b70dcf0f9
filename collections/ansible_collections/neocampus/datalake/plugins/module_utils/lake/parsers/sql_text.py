# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of SQL dumps, read as a stream: statements, tokens and rows, in memory that one row bounds.

Bytes are read as Latin-1, one character each: SQL's own signs are ASCII in every encoding that is accepted, binary
values stay what they are, and only the values that are text are decoded (see sql_types).

What the two dialects differ in (MySQL's manual, chapter "Language Structure"; PostgreSQL's, "Lexical Structure"):

| | mysql | postgresql |
|---|---|---|
| backslash in '…' | escapes, but with NO_BACKSLASH_ESCAPES | is itself, but in E'…', or as a setting says |
| "…" | a text, or a name with ANSI_QUOTES | a name |
| comments | `-- `, `#`, `/*…*/`; what is in `/*!…*/` counts | `--`, `/*…*/` that nest |
| $tag$…$tag$ | no | a text |
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Callable, NamedTuple, Union

from ..errors import ParseError

CHUNK = 256 * 1024
MAX_ROW = 32 * 1024 * 1024
"""Bytes of one row, and of one token: what is longer is left out."""
MAX_STATEMENT = 1024 * 1024
"""Bytes of a statement's text (CREATE TABLE) that is looked at as a whole."""
WINDOW = 64 * 1024
"""Rows up to this size are read by one regular expression, longer ones token by token."""

MYSQL, POSTGRESQL = "mysql", "postgresql"

# (kind, text). Kinds: "word" (bare word or number), "name", "text", "bytes", "bits", "sign", "end" (of the statement),
# "eof"; "long" is a token that was passed over because of its length.
Token = tuple[str, str]


class Expression(NamedTuple):
    """A value that would have to be computed, or cannot be read: what was found."""

    text: str


class Bare(NamedTuple):
    """A number, or a word such as NULL."""

    text: str


class Decoded(NamedTuple):
    """A text that is in characters already, not in bytes."""

    text: str


# A cell of a row that is not plain; a text is without its escapes.
Cell = Union[str, Bare, Decoded, bytes, Expression]  # noqa: UP007 (evaluated at run time; must run on 3.9)

_SPACE = re.compile(r"[ \t\r\n\f\v]+")
_WORD = re.compile(r"[A-Za-z_\x80-\xff@][\w$@\x80-\xff]*")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_NAME_CHARACTER = re.compile(r"[\w$\x80-\xff]")
_FIRST_WORD = re.compile(r"[A-Za-z]+")
_CONDITIONAL = re.compile(r"/\*M?!(\d*)")
_NESTING = re.compile(r"\*/|/\*")
_COMMENT_END = re.compile(r"\*/")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$")
_BARE = r"[-+]?[\w.]+(?:(?<=[eE])[-+]\d+)?"
_INSIDE = {True: r"[^'\\]*(?:(?:\\.|'')[^'\\]*)*", False: r"[^']*(?:''[^']*)*"}
_CELLS = {
    escapes: re.compile(rf"(?:_binary\s+)?'({inside})'|({_BARE})", re.DOTALL) for escapes, inside in _INSIDE.items()
}


def _row(inside: str) -> re.Pattern[str]:
    cell = rf"(?:(?:_binary\s+)?'{inside}'|{_BARE})"
    return re.compile(rf"\(\s*{cell}(?:\s*,\s*{cell})*\s*\)", re.DOTALL)


_ROW = {escapes: _row(inside) for escapes, inside in _INSIDE.items()}
_BETWEEN = re.compile(r"\s*,\s*(?=\()")
_ENDS = {
    ("'", True): re.compile(r"['\\]"),
    ("'", False): re.compile("'"),
    ('"', True): re.compile(r'["\\]'),
    ('"', False): re.compile('"'),
    ("`", False): re.compile("`"),
}
_MYSQL_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}
_C_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MYSQL_ESCAPE = re.compile(r"\\(.)|''", re.DOTALL)
_C_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)|''", re.DOTALL)
_COPY_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_TYPED = ("DATE", "TIME", "TIMESTAMP", "DATETIME", "INTERVAL", "BYTEA", "JSON", "JSONB", "UUID")
_CODECS = {
    **dict.fromkeys(("utf8", "utf8mb3", "utf8mb4", "unicode", "binary", "sqlascii", "ascii", "default"), "utf-8"),
    **{f"iso8859{number}": f"iso8859-{number}" for number in (*range(1, 12), *range(13, 17))},
    **{
        f"latin{number}": f"iso8859-{iso}"
        for number, iso in ((2, 2), (3, 3), (4, 4), (5, 9), (6, 10), (7, 13), (8, 14))
    },
    **{f"win{number}": f"cp{number}" for number in (866, 874, *range(1250, 1259))},
    **{f"cp{number}": f"cp{number}" for number in (850, 852, 866, 1250, 1251, 1252, 1256, 1257)},
    **{"latin9": "iso8859-15", "latin10": "iso8859-16", "greek": "iso8859-7", "hebrew": "iso8859-8"},
    **{"koi8r": "koi8-r", "koi8u": "koi8-u", "koi8": "koi8-r", "macroman": "mac-roman", "macce": "mac-latin2"},
    **{"latin1": "cp1252", "tis620": "tis-620", "eucjp": "euc-jp", "ujis": "euc-jp", "euckr": "euc-kr"},
}
_BODIES = ("CREATE FUNCTION", "CREATE PROCEDURE", "CREATE TRIGGER", "CREATE EVENT")
_KINDS = re.compile(
    r"\b(DATABASE|EVENT|EXTENSION|FUNCTION|INDEX|POLICY|PROCEDURE|ROLE|RULE|SCHEMA|SEQUENCE|TABLE|TRIGGER|TYPE|USER"
    r"|VIEW|[A-Z]+)\b"
)
_NOISE = frozenset(
    "OR REPLACE DEFINER SQL SECURITY INVOKER ALGORITHM UNDEFINED MERGE TEMPTABLE CURRENT_USER TEMPORARY TEMP UNLOGGED"
    " GLOBAL LOCAL FOREIGN UNIQUE FULLTEXT SPATIAL MATERIALIZED RECURSIVE AGGREGATE CONSTRAINT ONLY IF EXISTS NOT"
    " ONLINE OFFLINE IGNORE DEFAULT TRUSTED PROCEDURAL HASH".split()
)


def kind_of(statement: str) -> str:
    """What a statement is, from its beginning: UPDATE, CREATE VIEW."""
    first = re.match(r"\W*([A-Za-z]+)", statement)
    if not first:
        return "?"
    verb = first.group(1).upper()[:30]
    if verb in ("CREATE", "ALTER", "DROP"):
        unquoted = re.sub(r"'[^']*'|`[^`]*`|\"[^\"]*\"|@", " ", statement[first.end() : 400]).upper()
        for found in _KINDS.finditer(unquoted):
            if found.group(1) not in _NOISE:
                return f"{verb} {found.group(1)[:30]}"
    return verb


class SqlText:
    """Reads a dump from `read(size)`.

    `delimiter` ends statements; `escapes` says whether a backslash escapes in '…'; `names` whether "…" is a name;
    `line` is where it stands, from 1.
    """

    def __init__(self, read: Callable[[int], bytes], dialect: str) -> None:
        self._read = read
        self.dialect = dialect
        self.delimiter = ";"
        self.escapes = dialect == MYSQL
        self.names = dialect != MYSQL
        self.line = 1
        self._text = ""
        self._at = 0
        self._ended = False
        self._conditional = False
        self._recode: Callable[[bytes], bytes] | None = None
        self._start()

    # The buffer

    def _start(self) -> None:
        head = self._read(CHUNK)
        self._ended = not head
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # what a PowerShell redirection writes
            decoder = codecs.getincrementaldecoder("utf-16")("replace")
            self._recode = lambda data: decoder.decode(data, not data).encode("utf-8", "replace")
            head = self._recode(head)
        elif head.startswith(codecs.BOM_UTF8):
            head = head[3:]
        self._text = head.decode("latin-1")

    def _more(self) -> bool:
        """Reads on, in steps that grow with what is held; False, and nothing is changed, at the end."""
        if self._ended:
            return False
        held = len(self._text) - self._at
        data = self._read(max(CHUNK, min(held, MAX_ROW)))
        self._ended = not data
        if self._recode:
            data = self._recode(data)
        if not data:
            return not self._ended
        self._text = self._text[self._at :] + data.decode("latin-1")
        self._at = 0
        return True

    def _need(self, count: int) -> bool:
        """Whether there are `count` characters, after reading on for them."""
        while len(self._text) - self._at < count:
            if not self._more():
                return False
        return True

    def _take(self, end: int) -> str:
        """The text up to `end`, and goes on behind it."""
        text = self._text[self._at : end]
        self.line += text.count("\n")
        self._at = end
        return text

    def _pass(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _pass_to(self, mark: str) -> bool:
        """Goes behind the next `mark`, however far it is; False where there is none."""
        while True:
            found = self._text.find(mark, self._at)
            if found >= 0:
                self._pass(found + len(mark))
                return True
            self._pass(max(self._at, len(self._text) - len(mark) + 1))
            if not self._more():
                self._pass(len(self._text))
                return False

    # Between tokens

    def gap(self) -> None:
        """Passes space and comments; what MySQL would read of a comment counts as text."""
        while self._need(1):
            character = self._text[self._at]
            if character in " \t\r\n\f\v":
                space = _SPACE.match(self._text, self._at)
                self._pass(space.end() if space else self._at + 1)
            elif not self._comment(character):
                return

    def _comment(self, character: str) -> bool:
        """Passes the comment that begins here, if one does."""
        if character not in "-#/*":
            return False
        mysql = self.dialect == MYSQL
        if character == "#":
            return mysql and (self._pass_to("\n") or True)
        self._need(4)
        two = self._text[self._at : self._at + 2]
        if two == "--" and (not mysql or self._text[self._at + 2 : self._at + 3] in ("", " ", "\t", "\r", "\n")):
            self._pass_to("\n")
            return True
        if two == "/*":
            self._block_comment()
            return True
        if two == "*/" and self._conditional:
            self._conditional = False
            self._pass(self._at + 2)
            return True
        return False

    def _block_comment(self) -> None:
        self._need(16)
        inner = _CONDITIONAL.match(self._text, self._at)
        if self.dialect == MYSQL and inner and not inner.group(1).startswith("999999"):
            self._conditional = True
            self._pass(inner.end())
            return
        self._pass(self._at + 2)
        depth = 1
        marks = _COMMENT_END if self.dialect == MYSQL else _NESTING
        while depth:
            found = marks.search(self._text, self._at)
            if found:
                depth += 1 if found.group() == "/*" else -1
                self._pass(found.end())
                continue
            self._pass(max(self._at, len(self._text) - 1))
            if not self._more():
                self._pass(len(self._text))
                return

    # Quoted text

    def _quoted(self, quote: str, escapes: bool, keep: int = MAX_ROW) -> str | None:
        """The raw inside of the quoted text that begins here; None where it is longer than `keep`, or has no end."""
        ends = _ENDS[quote, escapes and quote != "`"]
        pieces: list[str] = []
        kept = 0

        def put(piece: str) -> None:
            nonlocal kept
            kept += len(piece)
            if kept <= keep:
                pieces.append(piece)

        self._pass(self._at + 1)
        at = self._at
        while True:
            found = ends.search(self._text, at)
            if found is None or found.end() == len(self._text):
                # What follows decides whether this is the end: what is held so far is put aside.
                put(self._take(found.start() if found else len(self._text)))
                if self._more():
                    at = self._at
                    continue
                closed = found is not None and found.group() == quote
                self._pass(len(self._text))
                return "".join(pieces) if closed and kept <= keep else None
            if found.group() == "\\" or self._text[found.end()] == quote:
                at = found.end() + 1
                continue
            put(self._take(found.start()))
            self._pass(self._at + 1)
            return "".join(pieces) if kept <= keep else None

    def _dollar(self, tag: str, keep: int = MAX_ROW) -> str | None:
        """The text between `tag` (which begins here) and the same again."""
        self._pass(self._at + len(tag))
        pieces: list[str] = []
        kept = 0
        while True:
            found = self._text.find(tag, self._at)
            piece = self._take(found if found >= 0 else max(self._at, len(self._text) - len(tag) + 1))
            kept += len(piece)
            if kept <= keep:
                pieces.append(piece)
            if found >= 0:
                self._pass(self._at + len(tag))
                return "".join(pieces) if kept <= keep else None
            if not self._more():
                self._pass(len(self._text))
                return None

    # Tokens

    def token(self) -> Token:
        """The next token of the statement; ("end", "") takes its delimiter, ("eof", "") is the end of the file."""
        self.gap()
        if not self._need(1):
            return "eof", ""
        self._need(max(2, len(self.delimiter)))
        if self._text.startswith(self.delimiter, self._at):
            self._pass(self._at + len(self.delimiter))
            return "end", ""
        character = self._text[self._at]
        if character == "'":
            return self._text_token(self.escapes)
        if character == '"':
            inner = self._quoted('"', self.escapes and not self.names)
            if inner is None:
                return "long", ""
            if self.names:
                return "name", inner.replace('""', '"')
            return "text", self.unescape(inner.replace('""', '"'))
        if character == "`":
            inner = self._quoted("`", False)
            return ("long", "") if inner is None else ("name", inner.replace("``", "`"))
        if character == "$" and self.dialect != MYSQL:
            self._need(128)
            tag = _DOLLAR.match(self._text, self._at)
            if tag:
                text = self._dollar(tag.group())
                return ("long", "") if text is None else ("text", text)
        return self._bare_token(character)

    def _text_token(self, escapes: bool) -> Token:
        inner = self._quoted("'", escapes)
        if inner is None:
            return "long", ""
        if escapes and self.dialect != MYSQL:
            return "text", _c_unescape(inner)
        return "text", self.unescape(inner) if escapes else inner.replace("''", "'")

    def _bare_token(self, character: str) -> Token:
        for pattern in (_WORD, _NUMBER):
            found = pattern.match(self._text, self._at)
            while found and len(self._text) - found.end() < 16 and len(found.group()) < MAX_ROW and self._more():
                found = pattern.match(self._text, self._at)  # it may go on behind what is held: 0 is 0x…, 1 is 1e-5
            if found:
                word = self._take(found.end())
                if len(word) <= 2 and self._need(1):
                    next_is = self._text[self._at]
                    if next_is == "'" or (next_is == "&" and self._need(2) and self._text[self._at + 1] == "'"):
                        return self._prefixed(word.upper())
                return "word", word
        self._pass(self._at + 1)
        return "sign", character

    def _prefixed(self, prefix: str) -> Token:
        """A text with a letter in front: E'…', N'…', X'…', B'…', U&'…'."""
        if prefix in ("E", "N"):
            return self._text_token(True if prefix == "E" else self.escapes)
        if prefix == "U" and self._text[self._at] == "&":
            self._pass(self._at + 1)
            kind, text = self._text_token(False)
            return kind, _unicode_unescape(text)
        if prefix in ("X", "B"):
            inner = self._quoted("'", False)
            if inner is None:
                return "long", ""
            try:
                if prefix == "X":
                    return "bytes", bytes.fromhex(inner).decode("latin-1")
                if self.dialect != MYSQL:
                    return "text", inner
                return "bits", inner if not inner.strip("01") else "?"
            except ValueError:
                return "sign", f"X'{inner[:40]}'"
        return "word", prefix

    def unescape(self, text: str) -> str:
        """The text of the inside of '…'."""
        if not self.escapes:
            return text.replace("''", "'")
        if self.dialect != MYSQL:
            return _c_unescape(text)
        return _MYSQL_ESCAPE.sub(_mysql_escape, text)

    # Statements

    def statement(self, keep: int = 400) -> tuple[str, bool]:
        """The rest of the statement, without comments, its first `keep` characters at most; and whether it has an end.

        A semicolon in the body of a function, trigger or rule ends nothing.
        """
        kept: list[str] = []
        room = keep
        depth = parentheses = 0
        kind = ""
        special = re.compile(re.escape(self.delimiter) + r"|['\"`$/#*()-]|\b(?:BEGIN|CASE|END)\b", re.IGNORECASE)

        def put(text: str) -> None:
            nonlocal room
            if room > 0:
                kept.append(text[:room])
                room -= len(text)

        while self._need(1):
            # Something may be cut by the end of what is held: that is left for the next turn.
            limit = len(self._text) - 64 if self._need(WINDOW + 64) else len(self._text)
            found = special.search(self._text, self._at)
            if found is None or found.start() >= limit:
                put(self._take(limit))
                continue
            put(self._take(found.start()))
            sign = found.group()
            if sign == self.delimiter:
                if not kind and sign == ";" and (depth > 0 or parentheses > 0):
                    kind = kind_of("".join(kept))
                if (depth > 0 and kind in _BODIES) or (parentheses > 0 and kind == "CREATE RULE"):
                    put(self._take(self._at + 1))
                    continue
                self._pass(self._at + len(sign))
                return "".join(kept), True
            if sign in "'\"`":
                inner = self._quoted(sign, self.escapes and not (sign == '"' and self.names), max(room, 0))
                put(f"{sign}{'' if inner is None else inner}{sign}")
            elif sign == "$":
                tag = _DOLLAR.match(self._text, self._at) if self.dialect != MYSQL else None
                if tag and not _NAME_CHARACTER.match(self._text[max(self._at - 1, 0) : self._at]):
                    self._dollar(tag.group(), 0)
                    put("''")
                else:
                    put(self._take(self._at + 1))
            elif sign in "/#*-":
                put(" " if self._comment(sign) else self._take(self._at + 1))
            else:
                if sign in "()":
                    parentheses += 1 if sign == "(" else -1
                else:
                    depth += -1 if sign.upper() == "END" else 1
                put(self._take(self._at + len(sign)))
        return "".join(kept), False

    def word(self) -> str:
        """The next word, in capitals, without taking it; "" where something else is next."""
        self.gap()
        self._need(64)
        found = _FIRST_WORD.match(self._text, self._at)
        return found.group().upper() if found else ""

    def at_end(self) -> bool:
        """Whether there is nothing left."""
        self.gap()
        return not self._need(1)

    def character(self) -> str:
        """The next character that is no space, without taking it; "" at the end."""
        self.gap()
        return self._text[self._at] if self._need(1) else ""

    def rest_of_line(self) -> str:
        """The text up to the end of the line, 4,096 characters of it at most; goes to the next line."""
        self._need(4096)
        end = self._text.find("\n", self._at, self._at + 4096)
        text = self._take(end if end >= 0 else min(self._at + 4096, len(self._text)))
        self._pass_to("\n")
        return text.strip()

    # Rows

    def rows(self) -> Iterator[tuple[int, list[tuple[str, str]] | None, list[Cell] | None]]:
        """The rows that stand here, `(…), (…)`: (line, plain cells, None), or (line, None, cells) where they are not
        all plain, or (line, None, None) for a row that is too long.

        Plain cells are (inside of a string, "") with its escapes, or ("", bare word). Where something else than a row
        comes, it is left to be read.
        """
        while True:
            row_match, find, between = _ROW[self.escapes].match, _CELLS[self.escapes].findall, _BETWEEN.match
            text, at = self._text, self._at
            row = row_match(text, at, at + WINDOW)
            if row is None and len(text) - at < WINDOW and self._more():
                continue
            line = self.line
            if row is not None:
                end = row.end()
                self.line += text.count("\n", at, end)
                self._at = end
                yield line, find(text, at + 1, end - 1), None
            else:
                yield line, None, self._slow_row()
            comma = between(self._text, self._at)
            if comma:
                self._pass(comma.end())
                continue
            if self.character() != ",":
                return
            self._pass(self._at + 1)
            if self.character() != "(":
                return

    def _slow_row(self) -> list[Cell] | None:
        """The cells of a row that has more in it than plain values, or is long."""
        self._pass(self._at + 1)
        cells: list[Cell] = []
        tokens: list[Token] = []
        size = depth = 0
        while True:
            kind, text = self.token()
            size += len(text) + 100 if kind != "long" else MAX_ROW
            if kind == "eof":
                raise Cut("the file ends within a row (is a quote missing?)")
            if kind == "end":
                raise Unclosed("the statement ends within a row")
            if kind == "sign":
                if text in "([{":
                    depth += 1
                elif text in ")]}":
                    depth -= 1
                if depth < 0 or (text == "," and depth == 0):
                    if size <= MAX_ROW:
                        cells.append(_cell(tokens))
                    tokens = []
                    if depth < 0:
                        return cells if size <= MAX_ROW else None
                    continue
            if size <= MAX_ROW:
                tokens.append((kind, text))
            else:
                cells, tokens = [], []

    def copy_lines(self) -> Iterator[tuple[int, str | None]]:
        """The lines of the data of a COPY, each with its number, up to the one that ends it; None for one that is too
        long. Errors: Cut where the file ends before."""
        self._pass_to("\n")
        searched = 0
        while True:
            end = self._text.find("\n", self._at + searched)
            if end < 0:
                searched = len(self._text) - self._at
                if searched > MAX_ROW:
                    line = self.line
                    if not self._pass_to("\n"):
                        raise Cut("the file ends within the data of a COPY")
                    searched = 0
                    yield line, None
                elif not self._more():
                    rest = self._take(len(self._text)).strip()
                    if rest == "\\.":
                        return
                    raise Cut("the file ends within the data of a COPY")
                continue
            searched = 0
            text = self._text[self._at : end]
            self._at = end + 1
            self.line += 1
            if text.endswith("\r"):
                text = text[:-1]
            if text == "\\.":
                return
            yield self.line - 1, text


class Cut(ParseError):
    """The file ends where it should not: what came before is sound."""


class Unclosed(ParseError):
    """A statement ends where it should not: what follows is sound."""


def _cell(tokens: list[Token]) -> Cell:
    """The value of the tokens of one cell; an Expression where it is more than a value."""
    for index in range(1, len(tokens) - 1):  # a cast changes nothing: the column's type tells what the value is
        if tokens[index] == ("sign", ":") == tokens[index + 1]:
            tokens = tokens[:index]
            break
    kinds = [kind for kind, _text in tokens]
    texts = [text for _kind, text in tokens]
    if kinds and all(kind == "text" for kind in kinds):
        return "".join(texts)
    if len(tokens) == 2:
        if tokens[0] in (("sign", "-"), ("sign", "+")) and kinds[1] == "word":
            return Bare(texts[0] + texts[1])
        if kinds[0] == "word" and texts[0].startswith("_"):
            return _introduced(texts[0][1:].lower(), kinds[1], texts[1])
        if kinds == ["word", "text"] and texts[0].upper() in _TYPED:
            return texts[1]
    if len(tokens) == 1:
        if kinds[0] == "word":
            return Bare(texts[0])
        if kinds[0] == "bytes":
            return texts[0].encode("latin-1")
        if kinds[0] == "bits" and texts[0] != "?":
            return Bare("0b" + texts[0])
    return Expression(" ".join(texts[:8])[:80])


def _introduced(charset: str, kind: str, text: str) -> Cell:
    """A text whose character set stands before it: _latin1'…', _binary 0x…"""
    said = Expression(f"_{charset} {text[:20]}…")
    if kind == "word" and text[:2] in ("0x", "0X"):
        data = from_hex(text)
    elif kind in ("text", "bytes"):
        data = text.encode("latin-1")
    else:
        return said
    if charset == "binary":
        return data
    codec = codec_of(charset)
    try:
        return said if codec is None else Decoded(decode(data, codec))
    except UnicodeDecodeError:
        return said


def from_hex(literal: str) -> bytes:
    """The bytes of 0x…. Errors: ValueError."""
    return bytes.fromhex("0" * (len(literal) % 2) + literal[2:])


def codec_of(charset: str) -> str | None:
    """Python's name of a character set of MySQL or an encoding of PostgreSQL; None where it is not known, or could hide
    a quote or a backslash within a character (gbk, sjis, big5), so that nothing can be read without converting it."""
    name = charset.strip().lower().replace("-", "").replace("_", "")
    if name in _CODECS:
        return _CODECS[name]
    return None


def decode(data: bytes, codec: str) -> str:
    """Text of these bytes. MySQL's latin1 is cp1252 with the five codes that this leaves out. Errors:
    UnicodeDecodeError."""
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        if codec != "cp1252":
            raise
        return "".join(_cp1252(byte) for byte in data)


def _cp1252(byte: int) -> str:
    try:
        return bytes((byte,)).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def _mysql_escape(found: re.Match[str]) -> str:
    character: str | None = found.group(1)
    if character is None:
        return "'"
    return _MYSQL_ESCAPES.get(character, character)


def _c_unescape(text: str) -> str:
    return _C_ESCAPE.sub(_c_escape, text)


def _c_escape(found: re.Match[str]) -> str:
    code: str | None = found.group(1)
    if code is None:
        return "'"
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    if code[0] in "uU" and len(code) > 1:
        return _utf8(int(code[1:], 16))
    return _C_ESCAPES.get(code, code)


def _utf8(number: int) -> str:
    """The character with this number, as the bytes that this module has instead of characters."""
    try:
        return chr(number).encode("utf-8").decode("latin-1")
    except (ValueError, UnicodeEncodeError):
        return "?"


def _unicode_unescape(text: str) -> str:
    return re.sub(
        r"\\(?:([0-9A-Fa-f]{4})|\+([0-9A-Fa-f]{6})|(\\))",
        lambda found: "\\" if found.group(3) else _utf8(int(found.group(1) or found.group(2), 16)),
        text,
    )


def copy_field(text: str) -> str | None:
    r"""The value of a field of COPY's text format; None for \N (PostgreSQL's manual, COPY, "Text Format")."""
    if text == "\\N":
        return None
    return _COPY_ESCAPE.sub(_copy_escape, text)


def _copy_escape(found: re.Match[str]) -> str:
    code: str = found.group(1)
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8) & 0xFF)
    return _C_ESCAPES.get(code, code)
