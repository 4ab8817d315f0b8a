"""Values that are computed once, however many processes ask for them."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from contextvars import ContextVar
from numbers import Real
from typing import TYPE_CHECKING, Any

from zdb.errors import InvalidSettingError, KeyExistsError
from zdb.formats.registry import Selection
from zdb.handle import NOTHING, Handle, keys_read
from zdb.write import WriteRequest, check_replaceable, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from zdb.engine.claim import Claim
    from zdb.keys import Key

__all__ = ["Computing"]

# How long a function that is being called may wait for others at most, where it computes further values.
_longest_wait: ContextVar[float | None] = ContextVar("longest_wait", default=None)


class Computing(Handle):
    """Compute a value if it is not there."""

    def compute(
        self,
        key: Key,
        function: Callable[..., Any],
        /,
        *args: Any,
        force: bool = False,
        wait: bool = True,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the value of a key; if there is none, call a function and keep what it returns.

        Of all processes and threads that ask at the same time, on any machine, one calls the function, while it holds
        the claim of the key. The others wait and read what it wrote. If it fails or dies, one of them takes its place.

        Parameters
        ----------
        key : str or tuple of str
        function : callable
            Its result is written as by :meth:`set`. Keys that it reads through zdb, in the thread that calls it, are
            kept as the inputs in the provenance of the value.
        *args, **kwargs
            Passed to the function.
        force : bool
            Call the function although there is a value, and replace that.
        wait : bool
            If false, do not wait for another who computes or writes the value.
        timeout : float, optional
            How many seconds to wait for others at most; each `compute` that the function calls in its thread waits no
            longer either. The function itself may take as long as it needs.

        Returns
        -------
        object
            What ``db[key]`` returns: arrays and tables of dask and xarray come back lazy.

        Raises
        ------
        KeyClaimedError
            Another one is at it, and `wait` is false; or the function asks for its own key.
        ClaimTimeoutError
            Another one is still at it after `timeout`.
        KeyConflictError
            The key lies below a value; or it is a sub-database, and `force` is true.
        InvalidSettingError
            `timeout` is no number of seconds.
        ReadOnlyError
            There is no value, and the database is open read-only.
        Exception
            Whatever the function raises. Nothing is kept; the next who asks calls the function again.

        Notes
        -----
        The value is known by its key alone: another function, or other arguments, do not make it stale.

        Functions that compute each other's keys at the same time wait for each other: for ever, without `timeout`.

        Examples
        --------
        >>> rate = db.compute("analysis/rate", lambda: db["spike_times"].size / 10.0)
        """
        path = self._at(key)
        if timeout is not None and not _is_duration(timeout):
            raise InvalidSettingError(f"{path}: timeout is a number of seconds from 0 on, not {timeout!r}")
        longest = _longest_wait.get()
        if longest is not None:
            timeout = longest if timeout is None else min(timeout, longest)
        while True:
            if not force:
                found = self._read_if_there(path, Selection())
                if found is not NOTHING:
                    return found
            self._before_writing()
            claim = self._claim_to_compute(path, force=force, wait=wait, timeout=timeout)
            if claim is not None:
                with claim:
                    if force or claim.previous is None:
                        waiting = _longest_wait.set(timeout)
                        try:
                            self._compute_under(claim, lambda: function(*args, **kwargs), overwrite=force)
                        finally:
                            _longest_wait.reset(waiting)
            force = False  # now it is there, unless another deletes it before it is read

    def _claim_to_compute(self, path: str, *, force: bool, wait: bool, timeout: float | None) -> Claim | None:
        """Take the claim of a key; None if its value is there, perhaps because another has computed it meanwhile."""
        if force:
            return self._engine.claim(path, blocking=wait, timeout=timeout, damaged=True)
        return self._engine.claims.take_new(path, blocking=wait, timeout=timeout, hand_out=True)

    def _compute_under(self, claim: Claim, function: Callable[[], Any], *, overwrite: bool) -> None:
        """Write what a function returns; without `overwrite` not over a small value that was set meanwhile."""
        check_replaceable(self._engine, claim.path, claim.previous, WriteRequest())  # before hours of computing
        noted: dict[tuple[str, str], None] = {}
        token = keys_read.set(noted)
        try:
            value = function()
        finally:
            keys_read.reset(token)
        own = self._engine.nodes.url
        inputs = tuple(path if url == own else f"{url}/{path}" for url, path in noted)
        # Small values are set without a claim: one that was on its way when the claim was taken may come now.
        with nullcontext() if overwrite else suppress(KeyExistsError):
            write(self._engine, claim.path, value, WriteRequest(overwrite=overwrite, inputs=inputs), claim)


def _is_duration(seconds: Any) -> bool:
    return isinstance(seconds, Real) and float(seconds) >= 0
