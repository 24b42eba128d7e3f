"""Several pages become one: each family once, with the samples of all."""

from __future__ import annotations

import pytest

from gearman_manager.metrics.exposition import label
from gearman_manager.metrics.joined_pages import END, joined

from ...scraped import parsed

#: A value that looks like the begin of a family, if its line break were not escaped.
TRICKY = "a\n# HELP legs Legs.\nlegs 7"


def page(server: str, *families: str) -> bytes:
    texts = (
        f"# HELP {name} The {name}.\n# TYPE {name} gauge\n{name}{{{label('server', server)}}} 1\n" for name in families
    )
    return "".join(texts).encode()


@pytest.mark.parametrize("end", [b"", END])
def test_a_family_comes_once_with_the_samples_of_all_pages(end: bytes) -> None:
    empty = b"# HELP tails The tails.\n# TYPE tails gauge\n"
    text = (
        b"".join(joined([page(TRICKY, "legs", "arms") + end, b"" + end, page("b", "arms", "legs") + empty + end])) + end
    )
    families = parsed(text.decode(), is_openmetrics=bool(end))
    assert list(families) == ["legs", "arms", "tails"]
    for name in ("legs", "arms"):
        assert [sample.labels["server"] for sample in families[name].samples] == [TRICKY, "b"]
    assert families["tails"].samples == []
