"""Device code for `on_cuda`: integers from random word to mask bit, so that it agrees with the CPU exactly.

Imported only where a GPU (or numba's simulator, which needs `cuda` to be a global here) is used.
"""

from __future__ import annotations

import sys

import numpy as np
from numba import cuda

for name in ("numba.core.config", "numba.cuda.core.config"):  # small batches are meant: no warning at each launch
    if name in sys.modules:
        sys.modules[name].CUDA_LOW_OCCUPANCY_WARNINGS = 0

u = np.uint64
low, by32 = u(0xFFFFFFFF), u(32)
m0, m1, w0, w1 = u(0xD2511F53), u(0xCD9E8D57), u(0x9E3779B9), u(0xBB67AE85)
ones, twos, fours = u(0x55555555), u(0x33333333), u(0x0F0F0F0F)
s1, s2, s4, s24, sums_up, byte = u(1), u(2), u(4), u(24), u(0x01010101), u(0xFF)


def kernel(function):
    """``cuda.jit``, cached on disk where some place can be written: a process compiles what no earlier one did."""
    try:
        return cuda.jit(function, cache=True)
    except RuntimeError:
        return cuda.jit(function)


@cuda.jit(device=True)
def philox(block, row, stream, key0, key1):
    c0, c1, c2, c3 = block, row & low, row >> by32, stream
    for _ in range(10):
        p0 = c0 * m0
        p1 = c2 * m1
        c0 = (p1 >> by32) ^ c1 ^ key0
        c1 = p1 & low
        c2 = (p0 >> by32) ^ c3 ^ key1
        c3 = p0 & low
        key0 = (key0 + w0) & low
        key1 = (key1 + w1) & low
    return c0, c1, c2, c3


@cuda.jit(device=True)
def set_bits(v):
    v = v - ((v >> s1) & ones)
    v = (v & twos) + ((v >> s2) & twos)
    v = (v + (v >> s4)) & fours
    return ((v * sums_up) >> s24) & byte


@cuda.jit(device=True)
def store(bits, valid, r, b, pair, out):
    """A byte of row r, and of its complement; `valid` bits belong to players."""
    if pair:
        out[2 * r, b] = bits
        out[2 * r + 1, b] = bits ^ valid
    else:
        out[r, b] = bits


@kernel
def coins(key0, key1, stream, first, cut, players, pair, out):
    width = out.shape[1]
    at = cuda.grid(1)
    if at >= cut.shape[0] * width:
        return
    r, b = at // width, at % width
    limit, bits, valid = cut[r], 0, 0
    for half in range(2):
        words = philox(u(2 * b + half), first + u(r), stream, key0, key1)
        for t in range(4):
            if 8 * b + 4 * half + t < players:
                valid |= 1 << (4 * half + t)
                if words[t] < limit:
                    bits |= 1 << (4 * half + t)
    store(bits, valid, r, b, pair, out)


@kernel
def noise(key0, key1, stream, first, out):
    blocks = (out.shape[1] + 3) // 4
    at = cuda.grid(1)
    if at >= out.shape[0] * blocks:
        return
    r, b = at // blocks, at % blocks
    words = philox(u(b), first + u(r), stream, key0, key1)
    for t in range(4):
        if 4 * b + t < out.shape[1]:
            out[r, 4 * b + t] = np.int32(set_bits(words[t])) - 16


@kernel
def widen(coarse, coarse_w, anchor, weight, out):
    height, width = out.shape[1], out.shape[2]
    at = cuda.grid(1)
    if at >= out.shape[0] * height * width:
        return
    r, i, j = at // (height * width), at // width % height, at % width
    begin, total = i * coarse_w + anchor[j], 0
    for t in range(weight.shape[0]):
        total += np.int64(coarse[r, begin + t]) * np.int64(weight[t, j])
    out[r, i, j] = total


@cuda.jit(device=True)
def pixel(wide, r, p, anchor, weight):
    i, j = p // wide.shape[2], p % wide.shape[2]
    begin, total = anchor[i], 0
    for t in range(weight.shape[0]):
        total += np.int64(wide[r, begin + t, j]) * np.int64(weight[t, i])
    return total


@kernel
def cut(wide, anchor, weight, limit, pair, out):
    width, players = out.shape[1], anchor.shape[0] * wide.shape[2]
    at = cuda.grid(1)
    if at >= limit.shape[0] * width:
        return
    r, b = at // width, at % width
    bits, valid = 0, 0
    for t in range(8):
        if 8 * b + t < players:
            valid |= 1 << t
            if pixel(wide, r, 8 * b + t, anchor, weight) < limit[r]:
                bits |= 1 << t
    store(bits, valid, r, b, pair, out)


@kernel
def field(wide, anchor, weight, out):
    at = cuda.grid(1)
    if at < out.shape[0] * out.shape[1]:
        r, p = at // out.shape[1], at % out.shape[1]
        out[r, p] = pixel(wide, r, p, anchor, weight)


@kernel
def select(values, sizes, edges):
    """A block a row: the value of the last pixel that enters, and how far equal ones do, by bisection."""
    count = cuda.shared.array(1, np.int32)
    r, me, size = cuda.blockIdx.x, cuda.threadIdx.x, sizes[cuda.blockIdx.x]
    below, least, most = 0, -(2**31), 2**31 - 1
    while least < most:  # the smallest value with at least `size` pixels at or below it
        middle = (least + most) >> 1
        if me == 0:
            count[0] = 0
        cuda.syncthreads()
        mine = 0
        for p in range(me, values.shape[1], cuda.blockDim.x):
            if values[r, p] <= middle:
                mine += 1
        cuda.atomic.add(count, 0, mine)
        cuda.syncthreads()
        if count[0] >= size:
            most = middle
        else:
            least = middle + 1
            below = count[0]
        cuda.syncthreads()
    first, last = -1, values.shape[1] - 1
    if size == 0:
        last = -1
    while first < last:  # the smallest position with enough pixels of that value at or before it
        middle = (first + last) >> 1
        if me == 0:
            count[0] = 0
        cuda.syncthreads()
        mine = 0
        for p in range(me, middle + 1, cuda.blockDim.x):
            if values[r, p] == least:
                mine += 1
        cuda.atomic.add(count, 0, mine)
        cuda.syncthreads()
        if count[0] >= size - below:
            last = middle
        else:
            first = middle + 1
        cuda.syncthreads()
    if me == 0:
        edges[r, 0], edges[r, 1] = least, last


@kernel
def cut_at(values, edges, pair, out):
    width, players = out.shape[1], values.shape[1]
    at = cuda.grid(1)
    if at >= values.shape[0] * width:
        return
    r, b = at // width, at % width
    bits, valid = 0, 0
    for t in range(8):
        p = 8 * b + t
        if p < players:
            valid |= 1 << t
            if values[r, p] < edges[r, 0] or (values[r, p] == edges[r, 0] and p <= edges[r, 1]):
                bits |= 1 << t
    store(bits, valid, r, b, pair, out)


@kernel
def take(array, rows, out):
    at = cuda.grid(1)
    if at < out.shape[0] * out.shape[1]:
        r, c = at // out.shape[1], at % out.shape[1]
        out[r, c] = array[rows[r], c]


@kernel
def set_sizes(data, out):
    r = cuda.grid(1)
    if r < out.shape[0]:
        total = 0
        for b in range(data.shape[1]):
            total += np.int64(set_bits(u(data[r, b])))
        out[r] = total


@cuda.jit(device=True)
def cell(data, depth, r, c):
    if depth == 8:
        return np.int64(data[r, c])
    return np.int64((data[r, c >> 3] >> (c & 7)) & 1) * 255


@cuda.jit(device=True)
def level(data, depth, plan, r, p):
    """Presence 0..255 of player p in row r."""
    gh, gw, width, y, x, shift = plan
    if gh == 0:
        return cell(data, depth, r, p)
    i, j = shift[r, 0] + p // width, shift[r, 1] + p % width
    right, down = np.int64(x[2, j]), np.int64(y[2, i])
    a, b = y[0, i] * gw, y[1, i] * gw
    top = (255 - right) * cell(data, depth, r, a + x[0, j]) + right * cell(data, depth, r, a + x[1, j])
    if down == 0:
        return (255 * top + 32512) // 65025
    under = (255 - right) * cell(data, depth, r, b + x[0, j]) + right * cell(data, depth, r, b + x[1, j])
    return ((255 - down) * top + down * under + 32512) // 65025


@cuda.jit(device=True)
def player(labels, positions, inner, e):
    p = e // inner % positions
    return labels[p] if labels.shape[0] else p


@kernel
def compose_hard(data, depth, plan, labels, positions, inner, x, baseline, step, out):
    e = cuda.grid(1)
    if e >= out.shape[1]:
        return
    p, present = player(labels, positions, inner, e), x[e]
    for r in range(cuda.blockIdx.y, out.shape[0], cuda.gridDim.y):
        out[r, e] = present if level(data, depth, plan, r, p) > 127 else baseline[r * step, e]


@kernel
def compose_bytes(data, depth, plan, labels, positions, inner, x, baseline, step, out):
    e = cuda.grid(1)
    if e >= out.shape[1]:
        return
    p, present = player(labels, positions, inner, e), np.int64(x[e])
    for r in range(cuda.blockIdx.y, out.shape[0], cuda.gridDim.y):
        share = level(data, depth, plan, r, p)
        out[r, e] = (present * share + np.int64(baseline[r * step, e]) * (255 - share) + 127) // 255


@kernel
def compose_floats(data, depth, plan, labels, positions, inner, x, baseline, step, out):
    e = cuda.grid(1)
    if e >= out.shape[1]:
        return
    p = player(labels, positions, inner, e)
    for r in range(cuda.blockIdx.y, out.shape[0], cuda.gridDim.y):
        whole = level(data, depth, plan, r, p)
        if whole == 255:
            out[r, e] = x[e]
        elif whole == 0:
            out[r, e] = baseline[r * step, e]
        else:
            share = whole / 255.0
            out[r, e] = x[e] * share + baseline[r * step, e] * (1.0 - share)


@kernel
def accumulate(data, depth, plan, hard, weight, twice, centre, shares, sums, squares):
    p, k = cuda.grid(1), cuda.blockIdx.y
    if p >= sums.shape[1]:
        return
    first, second = 0.0, 0.0
    for r in range(data.shape[0]):
        if hard:
            if (data[r, p >> 3] >> (p & 7)) & 1:
                first += weight[r, k]
                second += twice[r, k]
        else:
            term = weight[r, k] * (shares[level(data, depth, plan, r, p)] - centre[r])
            first += term
            second += term * term
    sums[k, p] = first
    squares[k, p] = second
