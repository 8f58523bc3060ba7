"""The look that the drawings share: colours, and a panel without a frame."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib takes most of a second to import
    from matplotlib.axes import Axes

FAINT, INK = "#E3E3E3", "#333333"


def furnish(axes: "Axes", title: str) -> None:
    """Title, grid and an epoch axis of whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    unframe(axes)


def unframe(axes: "Axes") -> None:
    """Leave of the frame the line below."""
    axes.tick_params(colors=INK, length=0)
    axes.spines[:].set_visible(False)
    axes.spines["bottom"].set(visible=True, color=INK)
