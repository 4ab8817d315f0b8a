"""Names of the attributes that zdb writes; ``docs/format.md`` says what they hold."""

from __future__ import annotations

__all__ = ["FORMAT_ATTRIBUTES", "NODE_ATTRIBUTES"]

#: What a format may set on its Dataset; every other attribute that begins with ``zdb_`` belongs to the engine.
FORMAT_ATTRIBUTES = frozenset(
    {
        "zdb_type",
        "zdb_dtype",
        "zdb_shape",
        "zdb_recipe",
        "zdb_value",
        "zdb_name",
        "zdb_size",
        "zdb_sha256",
    }
)
#: What zdb writes on the node of a value; every other name that begins with ``zdb_`` is reserved.
NODE_ATTRIBUTES = FORMAT_ATTRIBUTES | frozenset(
    {
        "zdb_kind",
        "zdb_version",
        "zdb_id",
        "zdb_format",
        "zdb_format_version",
        "zdb_generation",
        "zdb_arrays",
        "zdb_coordinates",
        "zdb_attrs",
        "zdb_copy_of",
        "zdb_source",
        "zdb_lost",
        "zdb_restored",
        "zdb_filling",
        "zdb_parts",
        "zdb_appends",
        "zdb_created",
        "zdb_user",
        "zdb_hostname",
        "zdb_program",
        "zdb_writer_version",
        "zdb_python_version",
        "zdb_git_commit",
        "zdb_git_state",
        "zdb_git_remote",
        "zdb_duration",
        "zdb_inputs",
        "zdb_imported_from",
        "zdb_imported",
        "zdb_post_hoc",
        "zdb_environment",
        "zdb_history",
        "zdb_slurm_job_id",
        "zdb_slurm_array_job_id",
        "zdb_slurm_array_task_id",
        "zdb_slurm_node",
        "zdb_mpi_rank",
        "zdb_mpi_size",
        "zdb_dask_worker",
        "zdb_dask_task",
    }
)
