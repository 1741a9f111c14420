"""`data`: look at data sets, convert and split them."""

from . import data_check, data_convert, data_split

PARTS = (data_check, data_convert, data_split)


def add(commands):
    command = commands.add_parser("data", help="check, convert and split data sets")
    parts = command.add_subparsers(dest="part", required=True, metavar="COMMAND")
    for part in PARTS:
        part.add(parts)
