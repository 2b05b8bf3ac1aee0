"""Commands that the world model adds to `loopverse`."""
