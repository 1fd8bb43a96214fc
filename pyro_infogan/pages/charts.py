"""Charts that stand in a page: SVG, coloured by the page's own style."""

from collections.abc import Mapping, Sequence

from .text import escaped

__all__ = ["chart"]


def chart(
    bars: Sequence[float], marks: Sequence[float], ticks: Mapping[float, str], said: str
) -> str:
    """Shares as bars, and beside them those that the prior gives, as a dashed line.

    Args:
        bars: of the images.
        marks: of the prior, one for each bar.
        ticks: text beneath, by its place from 0 to the number of bars.
        said: the chart in words.
    """
    width, height, left, foot, top = 540, 190, 44, 24, 8
    most = max(*bars, *marks) or 1.0
    step = (width - left - 6) / len(bars)
    floor = height - foot

    def across(place: float) -> str:
        return f"{left + place * step:.1f}"

    def up(share: float) -> float:
        return floor - (floor - top) * share / most

    drawn = [
        f'<rect class="bar" x="{across(index + 0.08)}" y="{up(share):.1f}" '
        f'width="{step * 0.84:.1f}" height="{floor - up(share):.1f}"/>'
        for index, share in enumerate(bars)
    ]
    line = " ".join(
        f"{across(place)},{up(share):.1f}"
        for index, share in enumerate(marks)
        for place in (index, index + 1)
    )
    texts = [
        f'<text x="{across(place)}" y="{height - 7}" text-anchor="middle">{escaped(tick)}</text>'
        for place, tick in ticks.items()
    ]
    for share in (0.0, most):
        texts.append(
            f'<text x="{left - 6}" y="{up(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escaped(said)}">'
        f'<line class="axis" x1="{left}" x2="{width - 6}" y1="{floor}" y2="{floor}"/>'
        f'{"".join(drawn)}<polyline class="prior" points="{line}"/>{"".join(texts)}</svg>'
    )
