"""A network in other programs' formats."""
