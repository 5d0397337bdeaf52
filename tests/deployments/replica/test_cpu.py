"""The kernels of adapters on a CPU, against the sum written out row by row."""

from __future__ import annotations

import pytest
import torch
from when_used import WhenUsed

cpu = WhenUsed("deployments.replica.cpu")


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([-1, -1], []),
        ([1, 1, -1], [(1, slice(0, 2))]),
        ([-1, 0, 1, 0], [(0, [1, 3]), (1, slice(2, 3))]),
    ],
)
def test_rows_are_sorted_by_adapter_and_those_without_one_left_out(indices, expected):
    found = cpu.rows_by_adapter(torch.tensor(indices))

    assert [(place, rows if isinstance(rows, slice) else rows.tolist()) for place, rows in found] == expected


@pytest.mark.parametrize("indices", [[0, 0, 0, 0], [-1, 1, -1, 0], [1, 0, 1, 0], [-1, -1, -1, -1]])
def test_each_row_gets_what_its_own_adapter_says_and_one_without_stays_what_it_was(indices):
    drawn = torch.Generator().manual_seed(7)
    x, before = torch.randn(4, 6, generator=drawn), torch.randn(4, 5, generator=drawn)
    a = [torch.randn(2, 1, 3, 6, generator=drawn) for _ in range(2)]
    b = [torch.randn(2, 1, width, 3, generator=drawn) for width in (2, 3)]
    expected = before.clone()
    for row, place in enumerate(indices):
        if place >= 0:
            said = [0.5 * x[row] @ one[place, 0].T @ other[place, 0].T for one, other in zip(a, b, strict=True)]
            expected[row] += torch.cat(said)
    y = before.clone()

    cpu.add_by_adapter(cpu.rows_by_adapter(torch.tensor(indices)), y, x, (a, b), 0.5, (2, 3))

    torch.testing.assert_close(y, expected)
    alone = [row for row, place in enumerate(indices) if place < 0]
    assert torch.equal(y[alone], before[alone])
