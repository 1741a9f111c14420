"""A hierarchy of classes, as YOLO9000 has it: the children of one class form a group that shares a
softmax, so that a class's value is its probability given its parent.

File: one class a line, its name and the number of its parent, -1 for none; the members of a group
stand one after the other, after their parent.
"""

import torch
from torch import Tensor

from .head import named_file


class Tree:
    """parents: for each class the number of its parent, -1 for none."""

    def __init__(self, parents: list[int]):
        self.parents = parents
        starts = [i for i in range(len(parents)) if i == 0 or parents[i] != parents[i - 1]]
        sizes = [b - a for a, b in zip(starts, [*starts[1:], len(parents)], strict=True)]
        self.group = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        self.groups = len(sizes)
        self.levels = self._levels()

    def _levels(self) -> list[tuple[Tensor, Tensor]]:
        """(classes, their parents) of each depth below the roots, from the top."""
        depth = []
        for parent in self.parents:
            depth.append(0 if parent < 0 else depth[parent] + 1)
        levels = []
        for level in range(1, max(depth) + 1):
            members = [i for i, d in enumerate(depth) if d == level]
            parents = [self.parents[i] for i in members]
            levels.append((torch.tensor(members), torch.tensor(parents)))
        return levels

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """In each group of its own; dim: that of the classes."""
        x = x.movedim(dim, -1)
        group = self.group.to(x.device).expand(x.shape)
        none = x.new_zeros(*x.shape[:-1], self.groups)
        highest = none.scatter_reduce(-1, group, x.detach(), "amax", include_self=False)
        power = (x - highest.gather(-1, group)).exp()
        total = none.scatter_add(-1, group, power)
        return (power / total.gather(-1, group)).movedim(-1, dim)

    def probabilities(self, y: Tensor, dim: int) -> Tensor:
        """Each class's value times those of the classes above it."""
        y = y.movedim(dim, 0).clone()
        for members, parents in self.levels:
            y[members] = y[members] * y[parents]
        return y.movedim(0, dim)

    def deepest(self, probabilities: Tensor, dim: int) -> Tensor:
        """Of each box the last class above one half, all others 0."""
        above = (probabilities > 0.5).int()
        later = above.flip(dim).cumsum(dim).flip(dim)  # how many from here on are above
        return probabilities * ((above == 1) & (later == 1))

    def leaves(self, probabilities: Tensor, dim: int) -> Tensor:
        """Only those of classes without children, all others 0."""
        inner = torch.tensor([i in set(self.parents) for i in range(len(self.parents))])
        shape = [-1 if i == dim else 1 for i in range(probabilities.dim())]
        return probabilities.masked_fill(inner.to(probabilities.device).view(shape), 0)

    def spread(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """target (m, classes), not 0 for the classes of a label -> the same, 1 also for the classes
        above these; and a mask of the groups that hold one of them, the only ones that the label
        says anything about."""
        target = target.clone()
        for members, parents in reversed(self.levels):
            below = torch.zeros_like(target).index_add_(
                1, parents.to(target.device), (target[:, members] != 0).to(target)
            )
            target[below != 0] = 1
        group = self.group.to(target.device).expand(target.shape)
        none = target.new_zeros(len(target), self.groups)
        held = none.scatter_add(1, group, (target != 0).to(target)) != 0
        return target, held.gather(1, group)


def read_tree(section, classes):
    """The Tree of the file that `tree` names, for so many classes, or None."""
    path = named_file(section, "tree")
    if path is None or section.string("tree") == "0":
        return None
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
        parents = [int(line[1]) for line in lines]
    except (OSError, ValueError, IndexError) as error:
        raise section.error(f"tree={path} cannot be read: {error}", "tree") from None
    if len(parents) != classes:
        raise section.error(f"tree={path} has {len(parents)} classes, expected {classes}", "tree")
    for number, parent in enumerate(parents):
        if not -1 <= parent < number:
            raise section.error(
                f"tree={path}, line {number + 1}: parent {parent} does not stand before", "tree"
            )
    return Tree(parents)
