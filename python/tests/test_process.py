"""What a Python process may do meanwhile: threads, Ctrl-C, progress, fork, pickling."""
import concurrent.futures
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import eelsvae

LONG = {"training.epochs": 100000, "training.patience": 0, "training.validation_fraction": 0}


@pytest.fixture
def ctrl_c():
    """As in a terminal: a shell's background jobs are started deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda seconds: threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("seconds", [0.01, 0.5])
def test_ctrl_c_stops_a_training(film, tiny, ctrl_c, seconds):
    ctrl_c(seconds)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        eelsvae.train(film, tiny, **LONG)
    assert time.monotonic() - began < 20
    assert eelsvae.detect(film, baseline="mean").scores.shape == (24, 24)  # and all goes on


def test_ctrl_c_stops_a_detection(film, model, ctrl_c):
    large = eelsvae.Image(np.tile(film.counts, (12, 12, 1)), 700, 0.3)
    ctrl_c(0.05)
    with pytest.raises(KeyboardInterrupt):
        eelsvae.detect(large, model)


def test_the_lock_is_released(film, tiny):
    ticks = 0

    def told(stage, done, total):
        return ticks > 50

    def tick():
        nonlocal ticks
        while ticks <= 50:
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    eelsvae.train(film, tiny, **LONG, progress=told)  # which ends only when the other thread has come so far
    thread.join()


def test_progress(film, model, tiny):
    heard = []
    eelsvae.train(film, tiny, progress=lambda *now: heard.append(now))
    stages = [stage for stage, _, _ in heard]
    assert set(stages) <= {"preparing", "training", "comparing"} and stages
    assert all(0 <= done <= total for _, done, total in heard)
    # A training that is stopped gives the best so far, a detection nothing.
    best = eelsvae.train(film, tiny, **LONG, progress=lambda stage, done, total: done > 40)
    assert best.energy == pytest.approx(film.energy)
    with pytest.raises(eelsvae.Error, match="stopped"):
        eelsvae.detect(eelsvae.Image(np.tile(film.counts, (8, 8, 1)), 700, 0.3), model, progress=lambda *now: True)
    with pytest.raises(ZeroDivisionError):
        eelsvae.train(film, tiny, **LONG, progress=lambda *now: 1 / 0)


def test_a_bar_is_shown(film, model, capsys):
    eelsvae.detect(film, model, progress=True)
    assert "ing: " in capsys.readouterr().err  # preparing, training and so on


def test_time_is_limited(film, tiny):
    began = time.monotonic()
    eelsvae.train(film, tiny, **LONG, minutes=0.01)
    assert time.monotonic() - began < 20


def test_log(film, tiny, caplog):
    with caplog.at_level(logging.INFO, "eelsvae"):
        eelsvae.train(film, tiny)
    assert any(record.message.startswith("epoch 2: loss") for record in caplog.records)
    assert {record.name for record in caplog.records} == {"eelsvae"}


def test_two_threads(film, other, model):
    expected = [eelsvae.detect(image, model, threads=1).scores for image in (film, other)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda image: eelsvae.detect(image, model, threads=1).scores, [film, other] * 3))
    for i, scores in enumerate(found):
        assert np.array_equal(scores, expected[i % 2])


def test_a_session_is_for_one_thread(film, model):
    session = eelsvae.Session(model)
    first = session.detect(film)
    assert np.array_equal(session.detect(film).scores, first.scores)

    def again(stage, done, total):
        session.detect(film)

    with pytest.raises(eelsvae.Error, match="make a session for each"):
        session.detect(film, progress=again)


def detect_in_child(image, model, queue):
    queue.put(eelsvae.detect(image, model).scores)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_other_processes(film, model, way):
    expected = eelsvae.detect(film, model).scores  # this process has used its threads
    context = multiprocessing.get_context(way)
    queue = context.Queue()
    child = context.Process(target=detect_in_child, args=(film, model, queue))
    child.start()
    scores = queue.get(timeout=120)
    child.join(timeout=60)
    assert child.exitcode == 0
    assert np.array_equal(scores, expected)


def test_models_are_pickled(film, model):
    again = pickle.loads(pickle.dumps(model))
    assert bytes(again) == bytes(model)
    assert np.array_equal(eelsvae.detect(film, again).scores, eelsvae.detect(film, model).scores)


def test_importing_is_quick_and_imports_little():
    code = ("import sys, time, numpy; began = time.perf_counter(); import eelsvae; took = time.perf_counter() - began; "
            "print(took, *({'hyperspy', 'sklearn', 'torch', 'tqdm', 'matplotlib'} & set(sys.modules)))")
    told = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
            for _ in range(3)]
    assert min(float(words[0]) for words in told) < 0.3  # seconds; of a machine that others share
    assert told[0][1:] == []


def test_everything_is_chosen(other):
    found = eelsvae.detect(other, minutes=0.05, detection={"fdr": 0.1})
    assert found.summary["choices"][: len(found.choices)] == found.choices
    assert len(found.summary["choices"]) > len(found.choices)
    assert found.summary["configuration"]["detection"]["fdr"] == 0.1
    assert found.choices[-1].endswith("is used") and len(found.choices) >= 2
    small = eelsvae.detect(eelsvae.Image(other.counts[:9, :14], 700, 0.3), minutes=0.05)
    assert small.model is None
    assert small.choices[-1] == "The mean spectrum is used, for so few spectra tell no more"
