"""For the API pages: the comment beside, or right above, a field of a dataclass is its documentation.

Griffe, which reads the sources for them, knows docstrings only, and the units of a field stand in comments here.
An extension of griffe, named in mkdocs.yml.
"""

from __future__ import annotations

import io
import tokenize
from typing import Any

import griffe


class FieldComments(griffe.Extension):
    """Gives attributes of classes the docstring that they lack."""

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called by griffe when the members of a class are known."""
        for member in cls.members.values():
            if isinstance(member, griffe.Attribute) and member.docstring is None and member.lineno:
                text = comment(cls, member.lineno, member.endlineno or member.lineno)
                if text:
                    member.docstring = griffe.Docstring(text, lineno=member.lineno, parent=member)


def comment(cls: griffe.Class, first: int, last: int) -> str:
    """The comment on the lines first to last, counted from 1, or else on those directly above."""
    lines = cls.lines_collection[cls.filepath]
    beside = [_tail(line) for line in lines[first - 1 : last]]
    if any(beside):
        return " ".join(filter(None, beside))
    above: list[str] = []
    for line in reversed(lines[: first - 1]):
        if not line.lstrip().startswith("#"):
            break
        above.insert(0, line.lstrip().removeprefix("#").strip())
    return " ".join(above)


def _tail(line: str) -> str:
    """The comment at the end of a line of code."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(line.strip()).readline))
    except (tokenize.TokenError, IndentationError, SyntaxError):  # a part of a longer statement
        return ""
    text = next((token.string for token in tokens if token.type == tokenize.COMMENT), "")
    return text.removeprefix("#").strip()
