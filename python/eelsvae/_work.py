"""What trainings and detections have in common: configurations, and who is told how they go on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Union

from . import _engine
from ._error import Error

# False: silence; True: a bar, if tqdm is installed; or progress(stage, done, total), which stops the work where it
# returns something true.
Progress = Union[bool, Callable[[str, int, int], Any]]

logger = logging.getLogger("eelsvae")


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, of which JSON knows nothing."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise Error(f"configuration: {value!r} is a {type(value).__name__}; give numbers, texts, lists or None")


def configuration_json(*parts: Mapping[str, Any] | None) -> str:
    """Configurations as JSON, of which the later ones take precedence. Keys are those of docs/config.md, in groups,
    {"training": {"epochs": 5}}, or dotted, {"training.epochs": 5}."""
    merged: dict[str, Any] = {}
    for part in parts:
        if part is not None and not isinstance(part, Mapping):
            raise Error(f"config: is a {type(part).__name__}; give a dict with the keys of docs/config.md")
        for key, value in (part or {}).items():
            group, dot, name = key.partition(".")
            if not dot and not isinstance(value, Mapping):
                merged[key] = value
                continue
            there = merged.setdefault(group, {})
            if not isinstance(there, dict):
                raise Error(f"configuration: {group} is no group of keys; leave out {key}")
            there.update({name: value} if dot else value)
    return json.dumps(merged, default=_plain)


def listener(progress: Progress) -> _engine.Listener:
    def log(is_warning: bool, text: str) -> None:
        logger.log(logging.WARNING if is_warning else logging.INFO, text)

    if progress is True:
        return _engine.Listener(_bar(), log)
    return _engine.Listener(progress or None, log)


def _bar() -> Callable[[str, int, int], None] | None:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    bar = None

    def show(stage: str, done: int, total: int) -> None:
        nonlocal bar
        if bar is None or bar.desc != stage + ": ":
            if bar is not None:
                bar.close()
            bar = tqdm(desc=stage, total=total, leave=False)
        bar.total = total
        bar.update(done - bar.n)

    return show
