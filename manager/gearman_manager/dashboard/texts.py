"""Shows what others have written: workloads, errors, names, lines of the log. The only place where that is done.

It is escaped, and what does not show by itself, or turns the direction of writing, is made visible. Long texts are cut;
the rest can be unfolded, up to a bound. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

#: Characters of a name, of a line, and of a text of several lines that are shown at once, and in all.
NAME_CHARACTERS: Final = 100
LINE_CHARACTERS: Final = 240
BLOCK_CHARACTERS: Final = 4000
MOST_CHARACTERS: Final = 100_000
_CONTROLS: Final = {0: "NUL", 7: "BEL", 8: "BS", 9: "TAB", 10: "LF", 13: "CR", 27: "ESC", 127: "DEL"}
#: Controls, marks of direction, what has no width, half characters, and separators that break lines.
_ODD: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_ODD_IN_BLOCKS: Final = re.compile(_ODD.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def shown(text: object, most: int = NAME_CHARACTERS) -> Markup:
    """A name, or another short text, on one line."""
    whole = str(text)
    cut = "" if len(whole) <= most else "…"
    return Markup("<bdi>%s%s</bdi>") % (_visible(whole[:most], _ODD), cut)


def line(text: object) -> Markup:
    """A text on one line; if it is longer the rest can be unfolded."""
    whole = str(text)
    if len(whole) <= LINE_CHARACTERS and "\n" not in whole:
        return shown(whole, LINE_CHARACTERS)
    first = whole.partition("\n")[0][:LINE_CHARACTERS]
    return Markup('<details class="long"><summary>%s</summary>%s</details>') % (shown(first + "…", 999), _pre(whole))


def block(text: object) -> Markup:
    """A text of several lines; if it is long the rest can be unfolded."""
    whole = str(text)
    if len(whole) <= BLOCK_CHARACTERS:
        return _pre(whole)
    about = f"all of its {len(whole):,} characters" if len(whole) <= MOST_CHARACTERS else f"{MOST_CHARACTERS:,} of them"
    unfolded = Markup('<details class="long"><summary>Show %s</summary>%s</details>') % (about, _pre(whole))
    return _pre(whole[:BLOCK_CHARACTERS] + " …") + unfolded


def log(lines: Sequence[str]) -> Markup:
    """Lines of a log, each of which may have further lines, as a traceback has; of many the last ones."""
    return _visible("\n".join(lines)[-MOST_CHARACTERS:], _ODD_IN_BLOCKS)


def plain(text: object, most: int = LINE_CHARACTERS) -> str:
    """A text for an attribute or a title, where no element can stand."""
    whole = str(text)
    return _ODD.sub(lambda found: _name_of(found[0]), whole[:most]) + ("…" if len(whole) > most else "")


def _pre(whole: str) -> Markup:
    left = len(whole) - MOST_CHARACTERS
    more = f"\n… {left:,} more characters are not shown" if left > 0 else ""
    return Markup('<pre tabindex="0">%s%s</pre>') % (_visible(whole[:MOST_CHARACTERS], _ODD_IN_BLOCKS), more)


def _visible(text: str, odd: re.Pattern[str]) -> Markup:
    return Markup(odd.sub(_marked, str(escape(text))))


def _marked(found: re.Match[str]) -> str:
    return f'<span class="odd">{_name_of(found[0])}</span>'


def _name_of(character: str) -> str:
    """What stands for a character: few fonts have the pictures that Unicode has for that."""
    code = ord(character)
    return f"⟨{_CONTROLS.get(code, f'U+{code:04X}')}⟩"
