"""Detection in more images than one process can look at: a source in parts, a network per worker.

`parts` cuts a source into parts, `work` looks at one and writes its file, `folder` knows which are
done, and `ray` hands the parts to workers through Ray Data; without it one process does them all.
"""
