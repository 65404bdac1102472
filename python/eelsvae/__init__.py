"""Finds the spectra in STEM-EELS spectrum images that do not fit the rest.

    import eelsvae
    found = eelsvae.detect("scan.dm4", baseline="mean")
    found.mask        # (y, x), True where a spectrum does not fit
    found.regions     # where, and what changed there, in words

Images are arrays (y, x, E), energies are in eV. Long work runs without Python's lock and stops at Ctrl-C.
What it has to say goes to the logger "eelsvae" of the module logging.
"""

from . import _processor  # before the engine, which cannot even be loaded where this says so
from ._detection import Detection, Region, Session, detect
from ._detector import AnomalyDetector
from ._engine import version as __version__
from ._error import Error
from ._image import Axis, Image, read, simulate
from ._model import Model, train
from ._scan import Anomaly, Counts, Scan, State

__all__ = ["Anomaly", "AnomalyDetector", "Axis", "Counts", "Detection", "Error", "Image", "Model", "Region", "Scan",
           "Session", "State", "__version__", "detect", "read", "simulate", "train"]
