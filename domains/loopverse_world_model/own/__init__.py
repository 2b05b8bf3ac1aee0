"""Episodes of the user's own, in files of several kinds."""
