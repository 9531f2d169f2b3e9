"""Vector code for the compiled kernels: 64 positions at a time, written to memory past the caches where asked.

numba's own loops do not turn mask bits into a vector select, nor store past the caches; these intrinsics say so to
LLVM, which has an answer for any processor. Code cached on disk does not notice a change in here: touch the files
that use it.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE = 64  # positions blended at once
SPAN = 32  # positions of a zoomed line made at once
_STREAM = 16  # bytes: alignment and size of a store past the caches


def _vector(kind, n=LINE):
    return ir.VectorType(kind, n)


def _at(context, builder, signature, args, k, place, n=LINE):
    """Pointer to `n` elements of array argument `k`, from index `place` on."""
    data = context.make_array(signature.args[k])(context, builder, args[k]).data
    return builder.bitcast(builder.gep(data, [place]), _vector(data.type.pointee, n).as_pointer())


def _same(kind, value, n=LINE):
    return ir.Constant(_vector(kind, n), [value] * n)


def _take(builder, vector, order):
    undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, undefined, ir.Constant(_vector(ir.IntType(32), len(order)), list(order)))


def _store(builder, vector, place, size, stream):
    """Store elements of `size` bytes; past the caches, in pieces of 16 bytes, where `stream` is true."""
    step = _STREAM // size
    piece = _vector(vector.type.element, step)
    with builder.if_else(stream) as (past, through):
        with past:
            first = builder.bitcast(place, piece.as_pointer())
            hint = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
            for k in range(vector.type.count // step):
                part = _take(builder, vector, range(k * step, (k + 1) * step))
                builder.store(part, builder.gep(first, [ir.IntType(32)(k)]), align=_STREAM).set_metadata(
                    "nontemporal", hint
                )
        with through:
            builder.store(vector, place, align=size)


def _over_255(builder, total):
    """16-bit totals that hold 128 for rounding, at most 65153, over 255: exactly."""
    kind, n = ir.IntType(32), total.type.count
    product = builder.mul(builder.zext(total, _vector(kind, n)), _same(kind, 257, n))
    return builder.trunc(builder.lshr(product, _same(kind, 16, n)), total.type)


def _mixer(times, spread_over, mix, step=LINE):
    """Intrinsic ``f(out, first, second, of, g, stream)``: positions 64 g .. 64 g + 63, `times` elements each.

    `of` (bytes) says how much of each position is present; ``spread_over(builder, pointer, g, kind)`` loads that as a
    vector, ``mix(builder, presence, order, first, second)`` gives `step` elements, the i-th at its ``order[i]``.
    """

    @intrinsic
    def by_lines(typingctx, out, first, second, of, g, stream):
        def codegen(context, builder, signature, args):
            def at(k, place, n):
                return _at(context, builder, signature, args, k, place, n)

            size = signature.args[0].dtype.bitwidth // 8
            kind = context.get_value_type(signature.args[0].dtype)
            data = context.make_array(signature.args[3])(context, builder, args[3]).data
            presence = spread_over(builder, data, args[4], kind)
            begin = builder.mul(args[4], args[4].type(LINE * times))
            for k in range(0, LINE * times, step):
                place = builder.add(begin, args[4].type(k))
                order = [(k + i) // times for i in range(step)]
                one, other = (
                    builder.load(at(j, place, step), align=signature.args[j].dtype.bitwidth // 8) for j in (1, 2)
                )
                _store(builder, mix(builder, presence, order, one, other), at(0, place, step), size, args[5])
            return context.get_dummy_value()

        return types.void(out, first, second, of, g, stream), codegen

    return by_lines


def _bits(builder, data, g, kind):
    """64 flags from 8 bytes."""
    place = builder.bitcast(builder.gep(data, [builder.mul(g, g.type(LINE // 8))]), ir.IntType(64).as_pointer())
    return builder.bitcast(builder.load(place, align=1), _vector(ir.IntType(1)))


def _levels(builder, data, g, kind):
    """64 levels, as they are."""
    place = builder.bitcast(builder.gep(data, [builder.mul(g, g.type(LINE))]), _vector(ir.IntType(8)).as_pointer())
    return builder.load(place, align=1)


def _shares(builder, data, g, kind):
    """64 levels over 255, as floats."""
    return builder.fdiv(builder.uitofp(_levels(builder, data, g, kind), _vector(kind)), _same(kind, 255.0))


def _choose(builder, present, order, x, baseline):
    return builder.select(_take(builder, present, order), x, baseline)


def _mix_floats(builder, share, order, x, baseline):
    share = _take(builder, share, order)
    rest = builder.fsub(_same(share.type.element, 1.0), share)
    return builder.fadd(builder.fmul(x, share), builder.fmul(baseline, rest))


def _mix_bytes(builder, levels, order, gain, start):
    """``start + level * gain`` over 255, rounded, where `start` holds 128 for that."""
    wide = builder.zext(_take(builder, levels, order), gain.type)
    total = _over_255(builder, builder.add(builder.mul(wide, gain), start))
    return builder.trunc(total, _vector(ir.IntType(8), len(order)))


choose, choose3 = (_mixer(times, _bits, _choose) for times in (1, 3))
mix_floats, mix_floats3 = (_mixer(times, _shares, _mix_floats) for times in (1, 3))
mix_bytes, mix_bytes3 = (_mixer(times, _levels, _mix_bytes, 32) for times in (1, 3))


def _interpolator(bits, divide):
    """Intrinsic ``f(out, wide, at, low, high, weight)``: ``out[at + i]`` from ``wide[low + i]`` and ``wide[high + i]``.

    SPAN of them, in integers of `bits` bits; ``divide(builder, total, same)`` makes levels of weighted sums.
    """

    @intrinsic
    def by_spans(typingctx, out, wide, at, low, high, weight):
        def codegen(context, builder, signature, args):
            kind = ir.IntType(bits)

            def line(k, place, element):
                data = context.make_array(signature.args[k])(context, builder, args[k]).data
                return builder.bitcast(builder.gep(data, [place]), _vector(element, SPAN).as_pointer())

            def scaled(place, share):
                value = builder.load(line(1, place, ir.IntType(16)), align=2)
                value = value if bits == 16 else builder.zext(value, _vector(kind, SPAN))
                one = builder.insert_element(ir.Constant(value.type, ir.Undefined), share, ir.IntType(32)(0))
                return builder.mul(value, _take(builder, one, [0] * SPAN))

            share = builder.trunc(args[5], kind) if args[5].type.width > bits else args[5]
            total = builder.add(scaled(args[3], builder.sub(kind(255), share)), scaled(args[4], share))
            level = divide(builder, total, lambda value: _same(kind, value, SPAN))
            builder.store(builder.trunc(level, _vector(ir.IntType(8), SPAN)), line(0, args[2], ir.IntType(8)), align=1)
            return context.get_dummy_value()

        return types.void(out, wide, at, low, high, weight), codegen

    return by_spans


between_bits = _interpolator(16, lambda b, total, same: _over_255(b, b.add(total, same(128))))
between = _interpolator(32, lambda b, total, same: b.udiv(b.add(total, same(32512)), same(65025)))


@intrinsic
def wait_for_stores(typingctx):
    """What was stored past the caches is in place before what follows."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def set_bits(typingctx, word):
    """Number of set bits of an integer."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return word(word), codegen


@intrinsic
def pack_line(typingctx, flags, at, bits):
    """64 bytes 0/1 from `at`, a multiple of 64, on to 8 bytes of `bits`."""

    def codegen(context, builder, signature, args):
        flag = builder.load(_at(context, builder, signature, args, 0, args[1]), align=1)
        word = builder.bitcast(builder.icmp_unsigned("!=", flag, _same(ir.IntType(8), 0)), ir.IntType(64))
        data = context.make_array(signature.args[2])(context, builder, args[2]).data
        place = builder.gep(data, [builder.lshr(args[1], args[1].type(3))])
        builder.store(word, builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(flags, at, bits), codegen


@intrinsic
def copy_within(typingctx, array, to, source, count):
    """``array[to : to + count] = array[source : source + count]`` for bytes apart from each other."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        places = (builder.gep(data, [place]) for place in args[1:3])
        cgutils.raw_memcpy(builder, *places, args[3], 1)
        return context.get_dummy_value()

    return types.void(array, to, source, count), codegen


@intrinsic
def add_where(typingctx, first, second, at, bits, u, v):
    """``first[at + i] += u; second[at + i] += v`` for each set bit i of `bits`, i < 64, float64."""

    def codegen(context, builder, signature, args):
        mask = builder.bitcast(args[3], _vector(ir.IntType(1)))
        for k, amount in ((0, args[4]), (1, args[5])):
            place = _at(context, builder, signature, args, k, args[2])
            kind = _vector(ir.DoubleType())
            one = builder.insert_element(ir.Constant(kind, ir.Undefined), amount, ir.IntType(32)(0))
            old = builder.load(place, align=8)
            builder.store(builder.select(mask, builder.fadd(old, _take(builder, one, [0] * LINE)), old), place, align=8)
        return context.get_dummy_value()

    return types.void(first, second, at, bits, u, v), codegen
