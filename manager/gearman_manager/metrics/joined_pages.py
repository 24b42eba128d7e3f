"""Makes one page of several: a family may come only once, with the samples of all pages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

END: Final = b"# EOF\n"
_HELP: Final = b"\n# HELP "


def joined(pages: Iterable[bytes]) -> Iterator[bytes]:
    """The families of all pages, one by one, without the mark of the end. The first page's help holds for all."""
    families: dict[bytes, list[bytes]] = {}
    for page in pages:
        # No line break is within a line: where a label has one, it is escaped.
        for family in (b"\n" + page.removesuffix(END)).split(_HELP)[1:]:
            help_line, _, rest = family.partition(b"\n")
            type_line, _, samples = rest.partition(b"\n")
            name = help_line.partition(b" ")[0]
            parts = families.setdefault(name, [b"# HELP " + help_line, type_line])
            if samples := samples.removesuffix(b"\n"):
                parts.append(samples)
    for parts in families.values():
        yield b"\n".join(parts) + b"\n"
