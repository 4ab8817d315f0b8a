"""What a database can do with values that many jobs write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zdb.errors import InvalidSettingError, PartMismatchError, UnsupportedValueError
from zdb.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from zdb.keys import Key
    from zdb.parallel.plan import Plan
    from zdb.parallel.progress import Progress

__all__ = ["Parallel"]


class Parallel(Handle):
    """Fill one value from many jobs."""

    def create(
        self,
        key: Key,
        template: Any,
        *,
        chunks: Any = None,
        shards: Any = None,
        codec: Any = None,
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        npartitions: int | None = None,
    ) -> Progress:
        """Begin a value that many jobs fill, each with :meth:`write_region`.

        Nothing is computed. Readers see what was at the key before until :meth:`finish`. Until then, or until
        :meth:`discard`, nobody else can write the key.

        Parameters
        ----------
        key : str or tuple of str
        template : xarray.Dataset, xarray.DataArray, numpy or dask array, pandas or dask DataFrame
            What the value will look like. Of a Dataset, what is lazy (a dask array) is to be filled, and what is in
            memory is written now; if nothing is lazy, all variables that are no coordinates are to be filled. The
            chunks of dask arrays are the parts that jobs will write.
        chunks, shards, codec
            As for :meth:`set`. Shards are the smallest regions that jobs can write.
        attrs : mapping, optional
            JSON-able remarks kept with the value.
        overwrite : bool
            Replace what is at the key when the value is finished.
        npartitions : int, optional
            Into how many parts to divide the first dimension; of a pandas DataFrame, how many partitions there will be.

        Returns
        -------
        Progress
            Its ``regions`` are what the jobs are to write.

        Raises
        ------
        KeyExistsError, KeyConflictError, InvalidKeyError
            The key cannot take the value.
        KeyClaimedError
            The key is being filled or written.
        UnsupportedValueError
            The template is of a kind that cannot be filled.
        InvalidSettingError
            `npartitions` is no number of parts.
        """
        from zdb.parallel.filling import begin
        from zdb.parallel.progress import Progress
        from zdb.write import WriteRequest

        path = self._at(key)
        if npartitions is not None and (not _is_whole(npartitions) or npartitions < 1):
            raise InvalidSettingError(f"{path}: npartitions is a whole number from 1 on, not {npartitions!r}")
        npartitions = None if npartitions is None else int(npartitions)
        self._before_writing()
        request = WriteRequest(None, chunks, shards, codec, overwrite, attrs)
        try:
            plan = begin(self._engine, path, template, request, npartitions)
        except UnsupportedValueError as error:
            text = str(error)
            raise UnsupportedValueError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from error
        self._plans[path] = (plan, None)
        return Progress.of(self._engine, plan)

    def write_region(
        self, key: Key, part: Any, region: Any = "auto", *, partition: int | None = None, realign: bool = False
    ) -> None:
        """Write a part of a value that :meth:`create` began, from any process.

        A region that was written before is replaced, so that a job may be started again. Dask arrays are computed
        while they are written, by the scheduler that is active.

        Parameters
        ----------
        key : str or tuple of str
        part : xarray.Dataset, xarray.DataArray, numpy or dask array, pandas.DataFrame
            With the dtypes of the template. It may have some of the variables.
        region : "auto" or mapping of dimension to slice
            Where the part belongs; "auto" finds that by the labels of its coordinates, as
            :meth:`xarray.Dataset.to_zarr` does. For a table the number of the partition.
        partition : int, optional
            Of a table: the number of the partition that the part is.
        realign : bool
            Allow a region that shares objects of the store with others: these are read, changed and written one after
            the other, which costs more.

        Raises
        ------
        MisalignedRegionError
            The region shares objects with others; the message says which boundaries to use.
        PartMismatchError
            The part does not fit; the message says what differs.
        NotFillingError
            The value was finished or given up, or another job has taken over this region.
        """
        from zdb.parallel.filling import write_part
        from zdb.parallel.tables import write_partition

        path = self._at(key)
        self._engine.nodes.require_writable()
        plan, stored = self._plan(path)
        if partition is not None and not (plan.partitions and isinstance(region, str) and region == "auto"):
            advice = "give the number once" if plan.partitions else "only a table has partitions; give region="
            raise PartMismatchError(f"{path}: partition={partition!r} and region={region!r}: {advice}")
        if plan.partitions:
            number = region if partition is None else partition
            write_partition(self._engine, plan, stored, part, number)
        else:
            write_part(self._engine, plan, stored, part, region, realign=realign)

    def progress(self, key: Key) -> Progress:
        """Return how far the filling of a value has come; ``print`` it for a picture.

        Raises
        ------
        NotFillingError
            The value is not being filled.
        """
        from zdb.parallel.progress import Progress

        return Progress.of(self._engine, self._current_plan(key))

    def resume(self, key: Key, job: int = 0, jobs: int = 1) -> list[Any]:
        """Return the regions that are still to be written, as :meth:`write_region` takes them.

        Parameters
        ----------
        key : str or tuple of str
        job, jobs : int
            Only those of one of so many jobs, which share all regions in the same way whenever they ask.

        Raises
        ------
        InvalidSettingError
            There is no such job.
        NotFillingError
            The value is not being filled.
        """
        from zdb.parallel.missing import Missing
        from zdb.parallel.records import Parts

        if not (_is_whole(job) and _is_whole(jobs) and 0 <= job < jobs):
            raise InvalidSettingError(
                f"{self._at(key)}: job={job!r} of jobs={jobs!r}: give whole numbers, job from 0 on and below jobs"
            )
        plan = self._current_plan(key)
        return Missing.of(plan, Parts.list(self._engine.nodes, plan)).of_job(job, jobs)

    def finish(self, key: Key) -> None:
        """Make a value visible that jobs have filled.

        Raises
        ------
        MissingPartsError
            Parts are missing; the message names some. The value can still be filled.
        MissingChunkError
            Objects that were written are not in the store any more; their regions count as missing from now on.
        CorruptChunkError
            A partition of a table cannot be read any more; it counts as missing from now on.
        NotFillingError
            The value is not being filled.
        """
        from zdb.parallel.filling import finish

        path = self._at(key)
        self._before_writing()
        finish(self._engine, path)
        self._plans.pop(path, None)

    def discard(self, key: Key) -> None:
        """Give up a value that :meth:`create` began, and remove what was written of it.

        Raises
        ------
        NotFillingError
            The value is not being filled, or it is being finished.
        """
        from zdb.parallel.filling import discard

        path = self._at(key)
        self._before_writing()
        self._plans.pop(path, None)
        discard(self._engine, path)

    def append(self, key: Key, part: Any, dim: Hashable | None = None) -> None:
        """Add to a value along one dimension.

        Readers see the value without the part or with all of it. Several processes may add to one value; each waits for
        the one before. Arrays, Datasets and DataArrays grow in place: what is written is proportional to the part, and
        at most the last shard more. So do ragged values and tables, unless the part needs another encoding, such as new
        categories or an index that does not go on; then they are read and written as a whole, a table of dask partition
        by partition, with memory that stays flat. The chunks stay as they are; only a small value in one chunk gets
        chunks for growing when something is added to it first. A table gets the rows as :func:`pandas.concat` adds
        them.

        Parameters
        ----------
        key : str or tuple of str
        part
            An array, xarray object, table, list of arrays, Ragged or awkward array like the value. All variables and
            coordinates with the dimension grow; others may be left out, and have to be equal to those of the value if
            they are there.
        dim : hashable, optional
            The dimension; the first one of a numpy or dask array if not given. Tables and ragged values grow by rows.

        Raises
        ------
        KeyNotFoundError
            There is nothing at the key.
        PartMismatchError
            The part does not fit; the message says what differs.
        UnsupportedValueError
            The value is of a kind that cannot be added to; the message says why.
        KeyClaimedError
            The value is being filled.
        """
        from zdb.parallel.appending import append

        path = self._at(key)
        self._before_writing()
        append(self._engine, path, part, dim, self._require(path))

    @property
    def _plans(self) -> dict[str, tuple[Plan, Any]]:
        """The plans that this handle has read."""
        found: dict[str, tuple[Plan, Any]] = vars(self).setdefault("_read_plans", {})
        return found

    def _current_plan(self, key: Key) -> Plan:
        from zdb.parallel.plan import read_plan

        return read_plan(self._engine, self._at(key))

    def _plan(self, path: str) -> tuple[Plan, Any]:
        from zdb.parallel.filling import stored_dataset
        from zdb.parallel.plan import read_plan
        from zdb.parallel.records import state_of

        plan, stored = self._plans.get(path, (None, None))
        if plan is None or state_of(self._engine.nodes, plan) != "open":  # there may be another one by now
            stored, plan = None, read_plan(self._engine, path)
        if stored is None:
            stored = stored_dataset(self._engine, plan)
            self._plans[path] = (plan, stored)
        return plan, stored


def _is_whole(number: Any) -> bool:
    return not isinstance(number, bool) and hasattr(number, "__index__")
