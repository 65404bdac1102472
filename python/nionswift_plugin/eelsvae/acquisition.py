"""Scores during a synchronized acquisition of Nion Swift.

    from nionswift_plugin.eelsvae.acquisition import AnomalyChannel
    channel = AnomalyChannel(document_model, "found/")
    scan_hardware_source.grab_synchronized(data_channel=channel, ...)    # the camera's processing: "sum_project"
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from nion.data import DataAndMetadata
from nion.instrumentation import Acquisition, DataChannel
from nion.swift.model import DataItem, DocumentModel

import eelsvae

from .computation import described, energy_axis, is_spectrum_image

__all__ = ["AnomalyChannel"]

logger = logging.getLogger("eelsvae")


class AnomalyChannel(DataChannel.DataItemDataChannel):
    """Keeps what is acquired in data items, as Swift's own channel does, and a map of scores that grows beside it.

    state: an eelsvae.State, or where one lies; instead of it scan has baseline and learn_rows, and with either what else
    eelsvae.Scan takes (model, threads, config). channel: that of the spectra; None: the first that gives a spectrum
    image. title, channel_names: as of DataItemDataChannel.

    The map is the data item `scores`: NaN where there is no score yet. Its metadata has below "eelsvae" the threshold,
    provisional until "finished", how many rows are final, and what is not to be trusted. It is worked on by a thread of
    its own, so that the acquisition does not wait; spectra that have not been scored yet wait in memory, one scan at most.
    What goes wrong there is logged, is the map's "error", and leaves the acquisition as it is.
    """

    def __init__(self, document_model: DocumentModel.DocumentModel, state: eelsvae.State | str | os.PathLike[str] | None = None,
                 *, channel: Acquisition.Channel | None = None, title: str = "Spectrum Image",
                 channel_names: Mapping[Acquisition.Channel, str] | None = None, **scan: Any) -> None:
        super().__init__(document_model, title, channel_names or {})
        self._document_model = document_model
        self._title = title
        self._channel = channel
        if state is not None and not isinstance(state, eelsvae.State):
            state = eelsvae.State.open(state)
        self._scan_options = {"state": state, **scan}
        self._scorer: _Scorer | None = None
        self._scores: DataChannel.DataItemReference | None = None

    def prepare(self, channel_info_map: Mapping[Acquisition.Channel, Acquisition.DataStreamInfo]) -> None:
        """As Swift asks, on its main thread. Error if there is no spectrum image to score."""
        images = {channel: info.data_metadata for channel, info in channel_info_map.items()
                  if is_spectrum_image(info.data_metadata)}
        channel = self._channel or next(iter(images), None)
        if channel not in images:
            raise eelsvae.Error("no channel gives a single spectrum image: set the camera's processing to \"sum_project\"")
        super().prepare(channel_info_map)
        item = DataItem.DataItem()
        item.title = f"{self._title} Anomalies"
        self._document_model.append_data_item(item)
        shape = tuple(map(int, images[channel].data_shape[:2]))
        item.set_xdata(DataAndMetadata.new_data_and_metadata(np.full(shape, np.nan, np.float32)))
        self._scores = DataChannel.DataItemReference(self._document_model, item)
        self._scored_channel = channel
        self._scorer = _Scorer(lambda options=self._scan_options, **axis: eelsvae.Scan(**options, **axis),
                               self._document_model, item, shape)
        if callable(self.on_display_data_item):
            self.on_display_data_item(item)

    def update_data(self, channel: Acquisition.Channel, source_data: np.ndarray, source_slice: Any, dest_slice: slice,
                    data_metadata: DataAndMetadata.DataMetadata) -> None:
        """As Swift asks, on a thread of the acquisition."""
        super().update_data(channel, source_data, source_slice, dest_slice, data_metadata)
        if self._scorer is not None and channel == self._scored_channel:
            channels = data_metadata.data_shape[-1]
            # A copy, since the camera goes on with its memory.
            spectra = np.array(source_data[tuple(source_slice)]).reshape(-1, channels)
            self._scorer.add(int(dest_slice.start) // channels, spectra, data_metadata)

    @property
    def scores(self) -> DataItem.DataItem:
        """The map's data item. Error before an acquisition."""
        if self._scores is None:
            raise eelsvae.Error("nothing was acquired yet; give this channel to grab_synchronized")
        return self._scores.data_item

    def wait(self, timeout: float | None = None) -> eelsvae.Scan | None:
        """Until all that came so far is scored; returns the scan, None if there is none yet. Error if it cannot be scored,
        or takes longer than timeout, seconds."""
        return None if self._scorer is None else self._scorer.wait(timeout)


class _Scorer:
    """The thread beside an acquisition, which lives while there is work. It does not hold the channel, whose data items
    are given back on the thread that drops it."""

    def __init__(self, begin: Callable[..., eelsvae.Scan], document_model: DocumentModel.DocumentModel,
                 item: DataItem.DataItem, shape: tuple[int, ...]) -> None:
        self._begin = begin
        self._document_model = document_model
        self._item = item
        self._shape = shape  # (y, x); the item may be closed meanwhile
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, np.ndarray, DataAndMetadata.DataMetadata]] = []
        self._working = False
        self._scan: eelsvae.Scan | None = None
        self._error = ""

    def add(self, first: int, spectra: np.ndarray, metadata: DataAndMetadata.DataMetadata) -> None:
        with self._changed:
            if self._error:
                return
            self._waiting.append((first, spectra, metadata))
            if not self._working:
                self._working = True
                threading.Thread(target=self._work, name="eelsvae", daemon=True).start()

    def wait(self, timeout: float | None) -> eelsvae.Scan | None:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._working, timeout):
                raise eelsvae.Error(f"not all is scored after {timeout:g} s; wait for longer")
            if self._error:
                raise eelsvae.Error(self._error)
            return self._scan

    def _work(self) -> None:
        try:
            while pieces := self._take():
                self._score(pieces)
        except BaseException as error:  # whatever it is, who waits has to hear of it
            logger.error("no scores of this acquisition: %s", error, exc_info=True)
            with self._changed:
                self._set_error(error)
                self._working = False
                self._changed.notify_all()

    def _take(self) -> list[tuple[int, np.ndarray, DataAndMetadata.DataMetadata]]:
        """What is to be scored now; empty: nothing is, and the thread ends."""
        with self._changed:
            pieces, self._waiting = self._waiting, []
            if not pieces:
                self._working = False
                self._changed.notify_all()
            return pieces

    def _set_error(self, error: BaseException) -> None:
        self._error = str(error) or type(error).__name__
        self._waiting = []

    def _score(self, pieces: list[tuple[int, np.ndarray, DataAndMetadata.DataMetadata]]) -> None:
        try:
            for first, spectra, metadata in pieces:
                self._push(first, spectra, metadata)
            with self._changed:
                idle = not self._waiting
            if idle and not self._scan.finished:
                self._scan.score_provisionally()
            self._show(pieces[-1][2])
        except Exception as error:
            logger.error("no scores of this acquisition: %s", error, exc_info=not isinstance(error, eelsvae.Error))
            with self._changed:
                self._set_error(error)
            self._publish(pieces[-1][2], np.full(self._shape, np.nan, np.float32), {"eelsvae": {"error": self._error}})

    def _push(self, first: int, spectra: np.ndarray, metadata: DataAndMetadata.DataMetadata) -> None:
        if self._scan is None:
            self._scan = self._begin(shape=metadata.data_shape, **energy_axis(metadata.dimensional_calibrations[-1]))
        self._scan.push(first, spectra)
        if self._scan.complete_rows == metadata.data_shape[0]:
            self._scan.finish()

    def _show(self, metadata: DataAndMetadata.DataMetadata) -> None:
        scan = self._scan
        if scan.scored_rows == 0:
            return
        self._publish(metadata, scan.scores, described(scan.detection(), finished=scan.finished, final_rows=scan.final_rows,
                                                       scored_rows=scan.scored_rows))

    def _publish(self, source: DataAndMetadata.DataMetadata, scores: np.ndarray, metadata: dict[str, Any]) -> None:
        everywhere = (slice(None), slice(None))
        try:
            shown = DataAndMetadata.new_data_and_metadata(
                scores, dimensional_calibrations=source.dimensional_calibrations[:2], metadata=metadata)
            self._document_model.update_data_item_partial(self._item, shown.data_metadata, shown, everywhere, everywhere)
        except Exception as error:
            logger.info("the map of scores is not updated, was it closed? %s", error)
