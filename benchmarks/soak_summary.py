"""The outcome of a soak: figures to print, and all errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_SHOWN_ERRORS: Final = 20


@dataclass
class Summary:
    """Filled while a soak runs."""

    figures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def expect(self, name: str, found: object, wanted: object) -> None:
        """Note a figure that must have one value."""
        self.figures[name] = f"{found}" if found == wanted else f"{found} instead of {wanted}"
        if found != wanted:
            self.errors.append(f"{name}: {found} instead of {wanted}")

    def lines(self) -> list[str]:
        """The lines to print."""
        shown = [f"  {name:48} {value}" for name, value in self.figures.items()]
        shown += [f"  ERROR {error}" for error in self.errors[:_SHOWN_ERRORS]]
        if len(self.errors) > _SHOWN_ERRORS:
            shown.append(f"  ... and {len(self.errors) - _SHOWN_ERRORS} more errors")
        return shown
