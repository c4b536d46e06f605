"""Named points at which a test can let a process die; in production they do nothing."""

from core.failpoints.arming import VARIABLE, Kill, Plan, arm, reached, writing
from core.failpoints.points import Failpoint, Moment

__all__ = ["VARIABLE", "Failpoint", "Kill", "Moment", "Plan", "arm", "reached", "writing"]
