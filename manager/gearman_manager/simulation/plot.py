"""Draws the queue and the workers of every policy over time with matplotlib, an optional dependency."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gearman_manager.errors import ManagerError
from gearman_manager.simulation.engine import Outcome

_INCHES: Final = (9.0, 5.5)
_DOTS_PER_INCH: Final = 100
_COLOURS: Final = ("#999999", "#c9a227", "#cc4c3b", "#1f6fb2")


class PlotError(ManagerError):
    """The picture can't be drawn or written."""


def require_matplotlib() -> Any:
    """Matplotlib's class of figures, which leaves its global state alone.

    Raises:
        PlotError: matplotlib is not installed; the text says how to install it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError("--plot needs matplotlib: pip install 'gearman-manager[plot]'") from error
    return Figure


def plot(outcomes: Sequence[Outcome], title: str, file: Path) -> None:
    """Write the picture; its format follows from the file's name.

    Raises:
        PlotError: matplotlib is missing, or the file can't be written.
    """
    figure = require_matplotlib()(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    queue_axes, worker_axes = figure.subplots(2, 1, sharex=True)
    for outcome, colour in zip(outcomes, _COLOURS, strict=False):
        times = [sample.at_s for sample in outcome.samples]
        style: dict[str, Any] = {"where": "post", "label": outcome.policy, "color": colour, "linewidth": 1.2}
        queue_axes.step(times, [sample.queued for sample in outcome.samples], **style)
        worker_axes.step(times, [sample.workers for sample in outcome.samples], **style)
    queue_axes.set(ylabel="jobs waiting", title=title, yscale="symlog", ylim=(0, None))
    worker_axes.set(ylabel="workers", xlabel="seconds", ylim=(0, None))
    queue_axes.legend(loc="upper right", fontsize="small")
    for axes in (queue_axes, worker_axes):
        axes.grid(alpha=0.25)
    try:
        figure.savefig(file)
    except (OSError, ValueError) as error:
        raise PlotError(f"the picture {file} can't be written: {error}") from error
