"""Of the versions of the standard, only the one that is tested stands here."""
