"""Paths as data files spell them: other separators, other folders."""

import os

from ..legible import shown

__all__ = ["around", "resolve", "shown", "spellings"]


def spellings(text):
    """How a path in a file may be meant: verbatim, without blanks at the ends, and each of them
    with the separators of this system."""
    wanted = [text, text.strip()]
    if os.sep == "/":
        wanted += [spelling.replace("\\", "/") for spelling in wanted]
    return list(dict.fromkeys(spelling for spelling in wanted if spelling))


def resolve(text, folders):
    """The first existing file that `text` names, seen from each of `folders` in turn; None if
    there is none. Absolute paths need no folder. The verbatim spelling is tried everywhere first.
    """
    for spelling in spellings(text):
        for folder in folders or ("",):
            candidate = os.path.join(folder, spelling)
            if os.path.isfile(candidate):
                return candidate
    return None


def around(*files):
    """The folders that relative paths are seen from: those of `files`, then the working one."""
    folders = [os.path.dirname(os.path.abspath(file)) for file in files if file is not None]
    return tuple(dict.fromkeys([*folders, os.getcwd()]))
