"""The scores of a spectrum image as a data item that follows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from nion.data import DataAndMetadata

import eelsvae

ID = "eelsvae.anomalies"


def energy_axis(calibration: Any) -> dict[str, float]:
    """energy_offset and dispersion, as eelsvae takes them."""
    if calibration.units != "eV":
        raise eelsvae.Error(f"energies in {calibration.units or 'no units'}; calibrate the last axis in eV")
    return {"energy_offset": calibration.offset or 0.0, "dispersion": calibration.scale or 1.0}


def place_axis(name: str, calibration: Any) -> eelsvae.Axis:
    """Of a map."""
    return eelsvae.Axis(name, calibration.units or "", calibration.offset or 0.0, calibration.scale or 1.0)


def is_spectrum_image(xdata: Any) -> bool:
    """Whether it is (y, x, E); xdata may also be metadata alone."""
    shape = xdata.data_descriptor
    return (shape.is_sequence, shape.collection_dimension_count, shape.datum_dimension_count) == (False, 2, 1)


def described(found: eelsvae.Detection, **more: Any) -> dict[str, Any]:
    """What a map's metadata say below "eelsvae"."""
    return {"eelsvae": {"threshold": float(found.threshold), "above_threshold": int(found.mask.sum()),
                        "trusted": bool(found.trusted), "reasons": list(found.reasons), **more}}


class Anomalies:
    """A computation: scores (y, x) of the spectrum image `src`, NaN where a spectrum is left out.

    By `baseline` ("mean", "pca:auto", ...) and `fdr`, the rate of false discoveries, measured in the image itself; or by
    `state`, the path of a state that was kept, where it is given. The map's metadata has below "eelsvae" the threshold, how
    many scores are above it, and whether it can be trusted.
    """

    label = "Anomalies"
    inputs = {"src": {"label": "Spectrum image"}, "baseline": {"label": "Baseline"},
              "fdr": {"label": "Rate of false discoveries"}, "state": {"label": "State"}}
    outputs = {"scores": {"label": "Scores"}}

    def __init__(self, computation: Any, **ignored: Any) -> None:
        self.computation = computation

    def execute(self, *, src: Any, baseline: str = "pca:auto", fdr: float = 0.05, state: str = "", **ignored: Any) -> None:
        """On a thread."""
        xdata = src.xdata
        if xdata is None or not is_spectrum_image(xdata):
            raise eelsvae.Error("needs a spectrum image: a collection (y, x) of spectra")
        y, x, energy = xdata.dimensional_calibrations
        if state:
            scan = eelsvae.Scan(state, shape=xdata.data_shape, **energy_axis(energy))
            scan.push(0, xdata.data.reshape(-1, xdata.data_shape[2]))
            found, by = scan.finish(), {"state": state}
        else:
            image = eelsvae.Image(xdata.data, **energy_axis(energy), y=place_axis("y", y), x=place_axis("x", x))
            found = eelsvae.detect(image, baseline=baseline, keep_spectra=False, config={"detection": {"fdr": fdr}})
            by = {"baseline": baseline, "fdr": fdr}
        self._scores = DataAndMetadata.new_data_and_metadata(np.array(found.scores), dimensional_calibrations=[y, x],
                                                             metadata=described(found, **by))

    def commit(self) -> None:
        """On the thread of the windows."""
        self.computation.set_referenced_xdata("scores", self._scores)


class MenuItem:
    """EELS, Anomalies: of the data item that is selected, beside which the map is shown."""

    menu_id = "eels_menu"
    menu_name = "EELS"
    menu_before_id = "window_menu"
    menu_item_name = "Anomalies"

    def __init__(self, api: Any) -> None:
        self._api = api

    def menu_item_execute(self, window: Any) -> None:
        """As Swift asks."""
        source = window.target_data_item
        if source is None or source.xdata is None or not is_spectrum_image(source.xdata):
            window.show_confirmation_message_box("Select a spectrum image first: a collection (y, x) of spectra.", lambda: None)
            return
        scores = self._api.library.create_data_item_from_data(np.zeros(source.xdata.data_shape[:2], np.float32),
                                                              f"Anomalies of {source.title}")
        self._api.library.create_computation(ID, inputs={"src": source, "baseline": "pca:auto", "fdr": 0.05, "state": ""},
                                             outputs={"scores": scores})
        window.display_data_item(scores)


class AnomaliesExtension:
    """By which Swift finds the computation and the menu."""

    extension_id = ID

    def __init__(self, api_broker: Any) -> None:
        api = api_broker.get_api(version="~1.0")
        api.register_computation_type(ID, Anomalies)
        self.menu_item = MenuItem(api)
        self._shown = api.create_menu_item(self.menu_item)

    def close(self) -> None:
        """As Swift asks."""
        self._shown.close()
