"""Is looping worth it: arms of the same code, compared."""
