"""The hub role: plans for all pools, writes their Assignments, and tells people why."""
