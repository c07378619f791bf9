"""Commands of visil as its messages suggest them: whole, so that they can be pasted into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path


def visil_command(*words: object, library: str | Path, id: str = "") -> str:
    """`visil WORDS ID --library LIBRARY`, every word quoted where a shell asks for it.

    An id that looks like an option stands behind all options: `visil WORDS --library LIBRARY -- ID`.
    """
    ids, last = ((), ("--", id)) if id.startswith("-") else ((id,) if id else (), ())
    return " ".join(shell_word(str(word)) for word in ("visil", *words, *ids, "--library", library, *last))


def repair_command(library: str | Path, *options: object) -> str:
    """What mends a library."""
    return visil_command("verify", "--repair", *options, library=library)


def shell_word(text: str) -> str:
    """The text as one word that can be pasted into a shell; `$'...'` of bash and zsh where it cannot be printed."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(c if c.isprintable() and c not in "\\'" else _shell_escape(c) for c in text) + "'"


def _shell_escape(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"
