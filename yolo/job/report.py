"""What a run says: the progress line, and the report at its end."""

import math
from itertools import islice

from .. import plot
from ..data.image import write

PICTURES = 12


def line(progress):
    """The progress line: of one iteration, or of the first mini-batches before there is one."""
    p = progress
    if not p.images:
        return f"mini-batch {p.mini_batch}"
    parts = [
        f"loss {p.loss:.3f}" if math.isfinite(p.loss) else "loss -",
        f"avg {p.avg_loss:.3f}",
        f"rate {p.rate:.2g}",
        f"{p.images_per_second:.1f} img/s",
        f"wait {100 * p.wait_seconds / p.seconds:.0f}%",
        f"left {clock(p.seconds_left)}",
    ]
    if p.best_map is not None:
        parts.append(p.measured)
        parts.append(f"best {100 * p.best_map:.2f}%")
    if p.skipped:
        parts.append(f"{p.skipped} iterations not finite")
    if p.broken:
        parts.append(f"{p.broken} broken images skipped")
    return "  ".join(parts)


def heads_line(progress):
    """The averages of each head over the latest iteration; `-` where it saw no object."""
    return "\n".join(f"  head {layer}: {found}" for layer, found in progress.heads.items())


def clock(seconds):
    """1:02:03 or 2:03; `-` where it is not known."""
    if not math.isfinite(seconds):
        return "-"
    seconds = int(seconds)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def finish(net, source, result, out, console):
    """The report on the held-out data, and pictures of what the network finds there."""
    console.say(result.report(source.names))
    if not source.pictures:
        console.say(f"curves: {out / 'chart.png'}")
        return
    net.names = source.names
    drawn = []
    for sample in islice(source.valid, PICTURES):
        drawn.append(net.predict(sample.image).draw(sample.image))
    write(out / "detections.jpg", plot.contact_sheet(drawn))
    console.say(f"pictures: {out / 'detections.jpg'}; curves: {out / 'chart.png'}")
