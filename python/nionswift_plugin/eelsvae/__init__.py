"""eelsvae in Nion Swift: EELS, Anomalies in the menu, for spectrum images that are there or grow.

`acquisition` has what scores during a synchronized acquisition; it is imported by who uses it.
"""

from . import computation  # where Swift finds the extension

__all__ = ["computation"]
