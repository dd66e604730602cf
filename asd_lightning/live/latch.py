"""On-delay, hysteresis, hold and cooldown of one alarm level: what keeps a level from chattering."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asd_lightning.errors import UserError


@dataclass(frozen=True)
class LatchOptions:
    """When a level comes on and goes off.

    The terms are those of alarm practice (ANSI/ISA-18.2: on-delay, off-delay, deadband).

    Args:
        needed: windows above the level, of the last ``of``, that switch it on.
        of: see ``needed``.
        quiet: windows in a row below the release level that switch it off.
        hold: shortest time it stays on, in s.
        cooldown: shortest time between going off and coming on again, in s.

    Raises:
        UserError: a value that no latch can have.

    >>> LatchOptions(needed=3, of=2)
    Traceback (most recent call last):
    asd_lightning.errors.UserError: 3 of 2 windows: give counts with 1 <= needed <= of
    """

    needed: int = 2
    of: int = 3
    quiet: int = 3
    hold: float = 0.0
    cooldown: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.needed <= self.of:
            raise UserError(f"{self.needed} of {self.of} windows: give counts with 1 <= needed <= of")
        if self.quiet < 1:
            raise UserError(f"quiet={self.quiet}: at least one window below the release level is needed")
        for name in ("hold", "cooldown"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name}={getattr(self, name)}: give a time in seconds, 0 or more")


@dataclass(frozen=True)
class LatchState:
    """Where a latch stands, as plain data.

    Attributes:
        recent: whether each of the last windows was above the level, newest last.
        below: windows in a row below the release level.
        since: when it came on, in s; ``None`` while it is off.
        free_at: before this time, in s, it does not come on.
    """

    recent: tuple[bool, ...] = ()
    below: int = 0
    since: float | None = None
    free_at: float = 0.0

    @property
    def on(self) -> bool:
        """Whether it is on."""
        return self.since is not None


def step(options: LatchOptions, state: LatchState, now: float, above: bool, released: bool) -> LatchState:
    """The state after one more window.

    Args:
        options: of the latch.
        state: before the window.
        now: end of the window, in s on the clock of the sound.
        above: the score is above the level.
        released: the score is at or below the release level, which is not above the level.

    >>> state = LatchState()
    >>> for second, above in enumerate([True, False, True]):
    ...     state = step(LatchOptions(needed=2, of=3), state, float(second), above, not above)
    >>> state.on, state.since
    (True, 2.0)
    """
    recent = (*state.recent, above)[-options.of :]
    below = state.below + 1 if released else 0
    moved = replace(state, recent=recent, below=below)
    if state.since is None:
        comes_on = sum(recent) >= options.needed and now >= state.free_at
        return replace(moved, since=now, below=0) if comes_on else moved
    if below >= options.quiet and now - state.since >= options.hold:
        # What switched it on must not switch it on again.
        return LatchState(free_at=now + options.cooldown)
    return moved
