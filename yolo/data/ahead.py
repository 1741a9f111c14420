"""Work done a little ahead of its consumer, by threads, in order."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor


def ahead(jobs, workers):
    """What each of `jobs` (functions without arguments) returns, in their order; up to
    2 * workers + 1 of them are under way or wait to be taken."""
    with ThreadPoolExecutor(max(1, workers), "yolo-ahead") as pool:
        pending = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(job))
                if len(pending) > 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
