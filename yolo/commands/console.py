"""What a long run says on a terminal or into a file."""

import sys
import time

from tqdm import tqdm

from ..legible import legible


class Console:
    """What a run says: on a terminal a bar that is redrawn, elsewhere a line every few seconds."""

    def __init__(self, stream=None, every=5.0, at_once=True):
        """at_once: the first line comes with the first progress, not `every` seconds later."""
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.printed = 0.0 if at_once else time.monotonic()
        self.every, self.bar = every, None

    def say(self, text):
        """A line that stays."""
        self._write(text)

    def _write(self, text):
        tqdm.write(legible(text), file=self.stream)
        self.stream.flush()

    def progress(self, done, total, text, stays=False, more=""):
        """Where the run stands; `stays` keeps the line, and `more` below it."""
        now = time.monotonic()
        if stays or (not self.live and now - self.printed >= self.every):
            self.printed = now
            self._write("\n".join(filter(None, (f"{done}/{total}  {text}", more))))
        if self.live:
            if self.bar is None:
                form = "{n_fmt}/{total_fmt} {bar} {postfix}"
                self.bar = tqdm(total=total, file=self.stream, bar_format=form, leave=False)
            self.bar.n = done
            self.bar.set_postfix_str(text)

    def clear(self):
        """Takes the bar away, so that other lines can be printed."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class RankConsole(Console):
    """That of one of several ranks: the first speaks, the others leave it what they have to say."""

    def __init__(self, *arguments, **settings):
        from .. import ranks

        super().__init__(*arguments, **settings)
        self.ranks = ranks

    def say(self, text):
        self.ranks.notes.add(text)
        if self.ranks.first():
            super().say(text)

    def progress(self, *arguments, **more):
        if self.ranks.first():
            super().progress(*arguments, **more)


def follow(items, total):
    """The items, while stderr shows how many have come."""
    from .. import ranks

    console = Console(sys.stderr, at_once=False)
    console.every = console.every if ranks.first() else float("inf")
    console.live = console.live and ranks.first()
    for done, item in enumerate(items, start=1):
        console.progress(done, total, "images")
        yield item
    console.clear()
