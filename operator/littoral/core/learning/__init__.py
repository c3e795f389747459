"""What is learned of demand and speed while requests are served, and what the planner is told of it.

`Learner` reads the sites' reports, pass after pass, and answers with `Inputs`: what `core.planner` needs beside the
world. It has no clock and does no I/O, so that the command line and the simulator can learn in the same way.
"""

from littoral.core.learning.learner import Inputs, Learner, LearnerTuning

__all__ = ["Inputs", "Learner", "LearnerTuning"]
