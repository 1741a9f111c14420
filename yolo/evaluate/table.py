"""Tables for people: one row a class."""

from ..legible import shown


def class_table(columns, names=None):
    """columns: heading -> a value for each class: integers, floats (one decimal) or None ('-')."""
    rows = len(next(iter(columns.values())))
    labels = [names[k] if names and k < len(names) else f"class {k}" for k in range(rows)]
    cells = [[_cell(values[k]) for k in range(rows)] for values in columns.values()]
    first = _column("class", [shown(label) for label in labels], "<")
    rest = [_column(head, cells[k], ">") for k, head in enumerate(columns)]
    return "\n".join("  ".join(row).rstrip() for row in zip(first, *rest, strict=True))


def _cell(value):
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _column(head, cells, side):
    wide = max(map(len, [head, *cells]))
    return [f"{cell:{side}{wide}}" for cell in [head, *cells]]
