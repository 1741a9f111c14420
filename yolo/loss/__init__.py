"""One file per head: Darknet's gradients and the numbers that it reports."""
