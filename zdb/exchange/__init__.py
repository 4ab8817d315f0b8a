"""Values as files of other formats, and files as values."""
