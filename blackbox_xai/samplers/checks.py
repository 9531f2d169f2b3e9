"""Checks at the door, shared by the samplers."""

from __future__ import annotations

from ..errors import InvalidInput

STREAMS = {
    "Coins": 0x10,
    "SmoothedCoins": 0x11,
    "levels": 0x12,
    "sizes": 0x13,
    "RiseGrids": 0x14,
    "shifts": 0x15,
    "OwenGrid": 0x16,
}  # fourth counter word of the generator: what a random word is for


def check_seed(who: str, seed: int) -> None:
    """A seed is an integer in 0..2**64 - 1."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**64:
        raise InvalidInput(f"{who}: seed {seed!r} is not an integer in 0..2**64 - 1; choose another.")


def check_players(who: str, n_players: int) -> None:
    """At least one player."""
    if n_players < 1:
        raise InvalidInput(f"{who}: {n_players} players; there is nothing to explain. Give at least one.")


def check_grid(who: str, grid: tuple[int, int]) -> None:
    """A grid is two positive sides."""
    if len(grid) != 2 or min(grid) < 1:
        raise InvalidInput(f"{who}: grid {tuple(grid)} has no players; give (height, width), both at least 1.")


def check_rows(who: str, start: int, count: int, group: int) -> None:
    """Rows come in whole groups."""
    if start < 0 or count < 0 or start % group or count % group:
        raise InvalidInput(
            f"{who}.draw: start {start} and count {count} must be non-negative multiples of the group size {group}."
        )


def check_device(who: str, device: str) -> None:
    """ "cpu", or "cuda" where a GPU (or numba's simulator) answers."""
    if device == "cpu":
        return
    if device != "cuda":
        raise InvalidInput(f'{who}: device {device!r} is unknown; choose "cpu" or "cuda".')
    from ..kernels import on_cuda

    reason = on_cuda.why_not()
    if reason:
        raise InvalidInput(
            f'{who}: device="cuda" asked for, but {reason}. Use device="cpu", or run where a CUDA GPU is visible '
            'with its driver and `pip install "blackbox-xai[cuda]"` (a driver of CUDA 12: `numba-cuda[cu12]`).'
        )
