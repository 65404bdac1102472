"""Scores in Nion Swift: of data items, and during an acquisition by its simulated microscope; without windows."""

import pkgutil
import threading
import uuid

import nionswift_plugin
import numpy as np
import pytest
from nion.data import Calibration, DataAndMetadata
from nion.instrumentation import Acquisition
from nion.instrumentation.test import AcquisitionTestContext
from nion.swift import Facade
from nion.swift.model import PlugInManager
from nion.swift.test import TestContext
from nion.utils import Geometry
from nionswift_plugin.eelsvae import acquisition
from nionswift_plugin.eelsvae.acquisition import AnomalyChannel

import eelsvae

Facade.initialize()


@pytest.fixture
def swift():
    """A document without windows that were drawn, and no plug-in of ours left behind."""
    setup = TestContext.TestSetup()
    with TestContext.create_memory_context() as context:
        controller = context.create_document_controller_with_application()
        before = len(PlugInManager.extensions)
        found = [each for each in pkgutil.iter_modules(nionswift_plugin.__path__) if each.name == "eelsvae"]
        adapter = PlugInManager.ModuleAdapter("nionswift_plugin", found[0])
        assert adapter.manifest["version"] == eelsvae.__version__ and adapter.manifest["modules"] == ["eelsvae"]
        adapter.load()
        ours = PlugInManager.extensions[before:]
        assert len(ours) == 1
        yield controller, Facade.get_api("~1.0"), ours[0]
        ours[0].close()
        del PlugInManager.extensions[before:]
    del setup


def in_swift(image, units="eV"):
    of = Calibration.Calibration
    return DataAndMetadata.new_data_and_metadata(
        np.array(image.counts), data_descriptor=DataAndMetadata.DataDescriptor(False, 2, 1),
        dimensional_calibrations=[of(1, 0.5, "nm"), of(2, 0.5, "nm"), of(image.energy_offset, image.dispersion, units)])


def test_map_of_a_data_item_follows_it(swift, film, other):
    controller, api, _ = swift
    source = api.library.create_data_item_from_data_and_metadata(in_swift(other))
    computation = api.library.create_computation(
        "eelsvae.anomalies", inputs={"src": source, "baseline": "mean", "fdr": 0.1, "state": ""}, outputs={"scores": None})
    controller.document_model.recompute_all()
    assert computation._computation.error_text is None
    found = eelsvae.detect(other, baseline="mean", config={"detection": {"fdr": 0.1}})
    scores = computation.get_result("scores").xdata
    np.testing.assert_array_equal(scores.data, found.scores)
    said = scores.metadata["eelsvae"]
    assert said["threshold"] == found.threshold and said["above_threshold"] == found.mask.sum() > 0
    assert said["reasons"] == found.reasons and (said["baseline"], said["fdr"]) == ("mean", 0.1)
    axes = [(axis.offset, axis.scale, axis.units) for axis in scores.dimensional_calibrations]
    assert axes == [(1, 0.5, "nm"), (2, 0.5, "nm")]
    source.xdata = in_swift(film)
    controller.document_model.recompute_all()
    now = eelsvae.detect(film, baseline="mean", config={"detection": {"fdr": 0.1}})
    np.testing.assert_array_equal(computation.get_result("scores").xdata.data, now.scores)


def test_map_by_a_state_that_was_kept(swift, tmp_path, film, other):
    controller, api, _ = swift
    eelsvae.State.learn(film, "mean").save(tmp_path / "state.safetensors")
    source = api.library.create_data_item_from_data_and_metadata(in_swift(other))
    computation = api.library.create_computation(
        "eelsvae.anomalies", inputs={"src": source, "state": str(tmp_path / "state.safetensors")}, outputs={"scores": None})
    controller.document_model.recompute_all()
    np.testing.assert_array_equal(computation.get_result("scores").xdata.data,
                                  scores_of(other.counts, eelsvae.State.learn(film, "mean"), other))


def scores_of(counts, state, axis):
    scan = eelsvae.Scan(state, shape=counts.shape, energy_offset=axis.energy_offset, dispersion=axis.dispersion)
    scan.push(0, counts.reshape(-1, counts.shape[2]))
    return scan.finish().scores


def test_menu(swift, film):
    controller, api, extension = swift
    source = api.library.create_data_item_from_data_and_metadata(in_swift(film), title="film")

    class Selected:  # a window in which the data item is selected
        target_data_item = source
        shown = asked = None

        def display_data_item(self, item):
            self.shown = item

        def show_confirmation_message_box(self, caption, accepted):
            self.asked = caption

    item, selected = extension.menu_item, Selected()
    item.menu_item_execute(selected)
    controller.document_model.recompute_all()
    assert selected.shown.title == "Anomalies of film" and selected.asked is None
    np.testing.assert_array_equal(selected.shown.xdata.data, eelsvae.detect(film, baseline="pca:auto").scores)
    selected.target_data_item = selected.shown
    item.menu_item_execute(selected)
    assert "spectrum image" in selected.asked


@pytest.mark.parametrize("wrong, says", [("units", "calibrate"), ("shape", "spectrum image"), ("baseline", "nothing")])
def test_says_what_is_wrong(swift, film, wrong, says):
    controller, api, _ = swift
    xdata = in_swift(film, "nm" if wrong == "units" else "eV")
    if wrong == "shape":
        xdata = DataAndMetadata.new_data_and_metadata(np.array(film.counts[0]))
    source = api.library.create_data_item_from_data_and_metadata(xdata)
    computation = api.library.create_computation(
        "eelsvae.anomalies", inputs={"src": source, "baseline": "nothing" if wrong == "baseline" else "mean"},
        outputs={"scores": None})
    controller.document_model.recompute_all()
    assert says in computation._computation.error_text
    assert computation.get_result("scores", None) is None


class Microscope:
    """Nion's simulated one, with an EELS camera."""

    def __init__(self, context):
        self.document_model = context.document_model
        self.scan, self.camera = context.scan_hardware_source, context.camera_hardware_source
        self.spectra = Acquisition.Channel(self.camera.hardware_source_id)

    def acquire(self, channel, shape=(12, 10), processing="sum_project", section_height=2):
        how = self.scan.get_current_frame_parameters()
        how.scan_id = uuid.uuid4()
        how.size = Geometry.IntSize(*shape)
        camera = self.camera.get_current_frame_parameters()
        camera.processing = processing
        self.scan.grab_synchronized(data_channel=channel, scan_frame_parameters=how, camera=self.camera,
                                    camera_frame_parameters=camera, section_height=section_height)
        self.document_model.perform_data_item_updates()
        return np.array(channel.get_data(self.spectra).data)


@pytest.fixture
def microscope():
    AcquisitionTestContext.begin_leaks()
    setup = TestContext.TestSetup()
    with AcquisitionTestContext.test_context(is_eels=True) as context:
        yield Microscope(context)
    del setup
    assert Acquisition.DataChannel.count == 0  # nothing is left of a channel


class Watched(AnomalyChannel):
    """What the map is whenever spectra came."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.maps = []

    def update_data(self, channel, *more):
        super().update_data(channel, *more)
        if channel.segments[0] != "test_scan_device":
            try:
                self.wait(120)
            except eelsvae.Error:
                pass
            self._document_model.perform_data_item_updates()
            self.maps.append((np.array(self.scores.data), dict(self.scores.xdata.metadata).get("eelsvae")))


class Axis:
    """Of the simulated camera's spectra."""
    energy_offset, dispersion = 0.0, 2.0


def test_map_grows_during_an_acquisition(microscope):
    learning = AnomalyChannel(microscope.document_model, baseline="mean", learn_rows=12)
    first = microscope.acquire(learning)
    assert first.shape == (12, 10, 512) and first.std() > 0
    state = learning.wait(120).state
    channel = Watched(microscope.document_model, state)
    second = microscope.acquire(channel)
    assert (first != second).any()
    wanted = scores_of(second, state, Axis)
    grown = [np.isfinite(scores).sum() for scores, _ in channel.maps]
    assert grown == [20, 40, 60, 80, 100, 120]
    reach = channel.wait(120).reach
    for rows, (scores, said) in zip(range(2, 13, 2), channel.maps):
        assert said["finished"] == (rows == 12) and said["scored_rows"] == rows
        assert said["final_rows"] == (12 if rows == 12 else max(0, rows - reach))
        np.testing.assert_array_equal(scores[:said["final_rows"]], wanted[:said["final_rows"]])
    np.testing.assert_array_equal(channel.scores.data, wanted)
    said = channel.scores.xdata.metadata["eelsvae"]
    assert said["threshold"] == channel.wait(120).threshold and isinstance(said["reasons"], (list, tuple))
    assert [axis.units for axis in channel.scores.dimensional_calibrations] == ["nm", "nm"]


def test_an_acquisition_goes_on_where_it_cannot_be_scored(microscope, film):
    channel = Watched(microscope.document_model, eelsvae.State.learn(film, "mean"))  # of another energy axis
    spectra = microscope.acquire(channel, (4, 4))
    assert spectra.std() > 0
    assert np.isnan(channel.scores.data).all() and "eV" in channel.maps[-1][1]["error"]
    with pytest.raises(eelsvae.Error, match="eV"):
        channel.wait(120)


def test_who_waits_hears_what_ended_the_scoring(microscope, film, monkeypatch):
    def closed(*given):
        raise RuntimeError("the map is gone")

    monkeypatch.setattr(acquisition._Scorer, "_publish", closed)
    channel = AnomalyChannel(microscope.document_model, eelsvae.State.learn(film, "mean"))
    microscope.acquire(channel, (4, 4))
    with pytest.raises(eelsvae.Error, match="the map is gone"):
        channel.wait(20)


def test_refuses_what_has_no_spectra(microscope, film):
    channel = AnomalyChannel(microscope.document_model, eelsvae.State.learn(film, "mean"))
    with pytest.raises(eelsvae.Error, match="nothing was acquired"):
        channel.scores
    with pytest.raises(eelsvae.Error, match="sum_project"):
        microscope.acquire(channel, (4, 4), processing=None)


def test_an_acquisition_does_not_wait_for_the_scores(microscope, monkeypatch):
    learning = AnomalyChannel(microscope.document_model, baseline="mean", learn_rows=12)
    microscope.acquire(learning)
    state = learning.wait(120).state
    acquired = threading.Event()

    class Slow(eelsvae.Scan):
        def push(self, *given):
            assert acquired.wait(120)
            return super().push(*given)

    monkeypatch.setattr(eelsvae, "Scan", Slow)
    channel = AnomalyChannel(microscope.document_model, state)
    spectra = microscope.acquire(channel)
    with pytest.raises(eelsvae.Error, match="not all is scored"):
        channel.wait(0.01)
    acquired.set()
    assert channel.wait(120).finished
    monkeypatch.undo()
    microscope.document_model.perform_data_item_updates()
    np.testing.assert_array_equal(channel.scores.data, scores_of(spectra, state, Axis))


def test_a_channel_may_acquire_again(microscope):
    channel = AnomalyChannel(microscope.document_model, baseline="mean", learn_rows=12)
    microscope.acquire(channel)
    first = channel.wait(120).state
    again = microscope.acquire(channel)
    scan = channel.wait(120)
    microscope.document_model.perform_data_item_updates()
    assert scan.counts.received == 120 and bytes(scan.state) != bytes(first)
    np.testing.assert_array_equal(channel.scores.data, scores_of(again, scan.state, Axis))


def test_an_acquisition_that_is_aborted(microscope):
    class Aborted(Watched):
        def update_data(self, *given):
            super().update_data(*given)
            if len(self.maps) == 2:
                microscope.scan.grab_synchronized_abort()

    learning = AnomalyChannel(microscope.document_model, baseline="mean", learn_rows=12)
    microscope.acquire(learning)
    channel = Aborted(microscope.document_model, learning.wait(120).state)
    spectra = microscope.acquire(channel)
    scan = channel.wait(120)
    assert not scan.finished and scan.complete_rows == 4
    assert not channel.scores.xdata.metadata["eelsvae"]["finished"]
    found = scan.finish()
    assert np.isfinite(found.scores).sum() == 40 and scan.counts.missing == 80
    assert (np.isfinite(channel.scores.data) == np.isfinite(found.scores)).all()
    assert spectra[:4].all() and not spectra[4:].any()
