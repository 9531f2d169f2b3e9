"""Vector code for the compiled kernels: 64 positions at a time, written to memory past the caches where asked.

numba's own loops do not turn mask bits into a vector select, nor store past the caches; these intrinsics say so to LLVM,
which has an answer for any processor.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LINE = 64  # positions blended at once
_STREAM = 16  # bytes: alignment and size of a store past the caches


def _vector(kind, n=LINE):
    return ir.VectorType(kind, n)


def _at(context, builder, signature, args, k, place, kind=None):
    """Pointer to 64 elements (of LLVM type `kind`) of array argument `k`, from index `place` on."""
    data = context.make_array(signature.args[k])(context, builder, args[k]).data
    return builder.bitcast(builder.gep(data, [place]), _vector(kind or data.type.pointee).as_pointer())


def _same(kind, value, n=LINE):
    return ir.Constant(_vector(kind, n), [value] * n)


def _take(builder, vector, order):
    undefined = ir.Constant(vector.type, ir.Undefined)
    return builder.shuffle_vector(vector, undefined, ir.Constant(_vector(ir.IntType(32), len(order)), list(order)))


def _store(builder, vector, place, size, stream):
    """Store 64 elements of `size` bytes; past the caches, in pieces of 16 bytes, where `stream` is true."""
    step = _STREAM // size
    piece = _vector(vector.type.element, step)
    with builder.if_else(stream) as (past, through):
        with past:
            first = builder.bitcast(place, piece.as_pointer())
            hint = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
            for k in range(LINE // step):
                part = _take(builder, vector, range(k * step, (k + 1) * step))
                builder.store(part, builder.gep(first, [ir.IntType(32)(k)]), align=_STREAM).set_metadata(
                    "nontemporal", hint
                )
        with through:
            builder.store(vector, place, align=size)


def _mixer(times, spread_over, mix):
    """Intrinsic ``f(out, first, second, of, g, stream)``: positions 64 g .. 64 g + 63, `times` elements each.

    `of` (bytes) says how much of each position is present; ``spread_over(builder, pointer, kind)`` loads that as a
    vector, ``mix(builder, presence, first, second, kind)`` gives 64 elements.
    """

    @intrinsic
    def by_lines(typingctx, out, first, second, of, g, stream):
        def codegen(context, builder, signature, args):
            def at(k, place):
                return _at(context, builder, signature, args, k, place)

            size = signature.args[0].dtype.bitwidth // 8
            kind = context.get_value_type(signature.args[0].dtype)
            data = context.make_array(signature.args[3])(context, builder, args[3]).data
            presence = spread_over(builder, data, args[4], kind)
            begin = builder.mul(args[4], args[4].type(LINE * times))
            for k in range(times):
                place = builder.add(begin, args[4].type(LINE * k))
                share = _take(builder, presence, [(LINE * k + i) // times for i in range(LINE)]) if times > 1 else presence
                one, other = (
                    builder.load(at(j, place), align=signature.args[j].dtype.bitwidth // 8) for j in (1, 2)
                )
                _store(builder, mix(builder, share, one, other, kind), at(0, place), size, args[5])
            return context.get_dummy_value()

        return types.void(out, first, second, of, g, stream), codegen

    return by_lines


def _bits(builder, data, g, kind):
    """64 flags from 8 bytes."""
    place = builder.bitcast(builder.gep(data, [builder.mul(g, g.type(LINE // 8))]), ir.IntType(64).as_pointer())
    return builder.bitcast(builder.load(place, align=1), _vector(ir.IntType(1)))


def _levels(builder, data, g):
    place = builder.bitcast(builder.gep(data, [builder.mul(g, g.type(LINE))]), _vector(ir.IntType(8)).as_pointer())
    return builder.load(place, align=1)


def _words(builder, data, g, kind):
    """64 levels as 16-bit integers."""
    return builder.zext(_levels(builder, data, g), _vector(ir.IntType(16)))


def _shares(builder, data, g, kind):
    """64 levels over 255, as floats."""
    return builder.fdiv(builder.uitofp(_levels(builder, data, g), _vector(kind)), _same(kind, 255.0))


def _choose(builder, present, x, baseline, kind):
    return builder.select(present, x, baseline)


def _mix_floats(builder, share, x, baseline, kind):
    rest = builder.fsub(_same(kind, 1.0), share)
    return builder.fadd(builder.fmul(x, share), builder.fmul(baseline, rest))


def _mix_bytes(builder, level, gain, start, kind):
    """``(start + level * gain) * 257 >> 16``: the total over 255, rounded, where `start` holds 128 for that."""
    wide = _vector(ir.IntType(32))
    total = builder.zext(builder.add(builder.mul(level, gain), start), wide)
    scaled = builder.lshr(builder.mul(total, _same(ir.IntType(32), 257)), _same(ir.IntType(32), 16))
    return builder.trunc(scaled, _vector(kind))


choose, choose3 = (_mixer(times, _bits, _choose) for times in (1, 3))
mix_floats, mix_floats3 = (_mixer(times, _shares, _mix_floats) for times in (1, 3))
mix_bytes, mix_bytes3 = (_mixer(times, _words, _mix_bytes) for times in (1, 3))


@intrinsic
def wait_for_stores(typingctx):
    """What was stored past the caches is in place before what follows."""

    def codegen(context, builder, signature, args):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


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
