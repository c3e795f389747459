"""The site role: makes a cluster run what its Assignments say, and reports what became of it."""
