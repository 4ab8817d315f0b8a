"""Which regions of a value that is being filled are missing, as a listing of its parts shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from zdb.parallel.coverage import covered

if TYPE_CHECKING:
    from zdb.parallel.coverage import Box
    from zdb.parallel.plan import Plan
    from zdb.parallel.records import Parts

__all__ = ["Missing", "grid_of"]


class Missing(NamedTuple):
    """What of a value is missing.

    Attributes
    ----------
    regions : list
        All regions; numbers of partitions for a table.
    numbers : list of int
        Which of them are not there, or not as a whole.
    elements, elements_total : int
        Elements that are there, and that there are; 0 for tables.
    """

    regions: list[Any]
    numbers: list[int]
    elements: int
    elements_total: int

    @classmethod
    def of(cls, plan: Plan, listed: Parts) -> Missing:
        if plan.partitions:
            done = {part.bounds[0] for part in listed.done} - {part.bounds[0] for part in listed.missing.values()}
            numbers = [number for number in range(plan.partitions) if (number, number + 1) not in done]
            return cls(list(range(plan.partitions)), numbers, 0, 0)
        elements = total = 0
        missing: set[int] = set()
        for number, variable in enumerate(plan.variables):
            done_boxes = [part.box(plan, number) for part in listed.done if part.has(number)]
            open_boxes = [part.box(plan, number) for part in listed.missing.values() if part.has(number)]
            there, boxes = covered(variable.shape, done_boxes, open_boxes)
            elements += there
            total += math.prod(variable.shape)
            for box in boxes:
                if all(start < stop for start, stop in box):
                    missing.update(_numbers(plan, variable.dims, box))
        return cls(plan.regions(), sorted(missing), elements, total)

    def of_job(self, job: int, jobs: int) -> list[Any]:
        """Return what is missing of the regions of one of several jobs, which share all in the same way."""
        return [self.regions[number] for number in self.numbers if number % jobs == job]


def grid_of(plan: Plan) -> tuple[int, ...]:
    """Return the number of regions along each dimension that is divided."""
    return tuple(math.ceil(plan.sizes[dim] / plan.unit[dim]) for dim in plan.dims)


def _numbers(plan: Plan, dims: tuple[str, ...], box: Box) -> list[int]:
    """Return the numbers of the regions that a box along some dimensions meets."""
    bounds = dict(zip(dims, box, strict=True))
    numbers = [0]
    for dim, count in zip(plan.dims, grid_of(plan), strict=True):
        start, stop, unit = *bounds.get(dim, (0, plan.sizes[dim])), plan.unit[dim]
        numbers = [number * count + one for number in numbers for one in range(start // unit, math.ceil(stop / unit))]
    return numbers
