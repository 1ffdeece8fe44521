# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A timeline as a Perfetto trace, and back.

One track has the steps, nested in a slice for the whole; below it lies one track for each worker, with two slices for
each of its tasks: `wait`, if it waited, and behind it the task, named after its family, until after its signal. What
`Timeline` has besides is in the arguments of these slices.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mk.errors import InputError, MkError
from mk.timeline.timeline import TASK, Family, Step, Timeline

_ROOT, _STEPS, _WORKERS = 1, 2, 16  # uuids of tracks; worker w has _WORKERS + w
_SEQUENCE = 1
_FORMAT = "mk timeline 2"


def proto() -> Any:
    """The messages of Perfetto. Raises MkError if they are not installed."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise MkError("a trace needs the package perfetto: pip install mk-compiler[trace]") from error
    return perfetto_trace_pb2


def write(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """Writes the trace. Raises MkError if `perfetto` is not installed, OSError if the file cannot be written."""
    writer = _Writer(proto())
    writer.tracks(timeline)
    writer.steps(timeline)
    for worker in range(timeline.workers):
        writer.worker(timeline, worker)
    Path(path).write_bytes(writer.trace.SerializeToString())


class _Writer:
    """Strings are sent once, and then meant by number: a trace repeats few of them very often."""

    def __init__(self, messages: Any) -> None:
        self.trace = messages.Trace()
        self._event = messages.TrackEvent
        self._packet = messages.TracePacket
        self._numbers: dict[tuple[str, str], int] = {}

    def tracks(self, timeline: Timeline) -> None:
        """Describes the tracks; the workers keep their order."""
        first = self.trace.packet.add(trusted_packet_sequence_id=_SEQUENCE)
        first.sequence_flags = self._packet.SEQ_INCREMENTAL_STATE_CLEARED
        root = first.track_descriptor
        root.uuid, root.name = _ROOT, timeline.name
        root.child_ordering = root.EXPLICIT
        names = {_STEPS: "steps"} | {_WORKERS + w: f"worker {w}" for w in range(timeline.workers)}
        for rank, (uuid, name) in enumerate(names.items()):
            track = self.trace.packet.add(trusted_packet_sequence_id=_SEQUENCE).track_descriptor
            track.uuid, track.name, track.parent_uuid, track.sibling_order_rank = uuid, name, _ROOT, rank

    def steps(self, timeline: Timeline) -> None:
        """A slice for the whole, and one for each step in it."""
        spans = [_span(timeline.tasks[timeline.tasks["step"] == i]) for i in range(len(timeline.steps))]
        self._begin(
            _STEPS, spans[0][0], "program", timeline.name, format=_FORMAT, workers=timeline.workers,
            ceiling=timeline.ceiling,
        )  # fmt: skip
        # A worker may begin a step while the one that has published it notes its last time.
        ends = [min(end, begin) for (_, end), (begin, _) in pairwise(spans)] + [spans[-1][1]]
        for step, (begin, _), end in zip(timeline.steps, spans, ends, strict=True):
            facts: dict[str, int | str] = {
                "step": step.number,
                "tokens": step.tokens,
                "kv_bytes": step.kv_bytes,
                "contexts": " ".join(map(str, step.contexts)),
            }
            self._begin(_STEPS, begin, "step", f"step {step.number}", **facts)
            self._end(_STEPS, end)
        self._end(_STEPS, spans[-1][1])

    def worker(self, timeline: Timeline, worker: int) -> None:
        """The tasks of a worker, in the order in which it ran them."""
        track = _WORKERS + worker
        tasks = timeline.tasks[timeline.tasks["worker"] == worker]
        for task in map(_named, tasks.tolist()):
            number, family = task["instruction"], timeline.families[task["family"]]
            step = timeline.steps[task["step"]].number
            of = {"step": step, "instruction": number, "family": task["family"], "for": family.name}
            if task["body_begin"] > task["wait_begin"] or not task["body"]:
                self._begin(
                    track, task["wait_begin"], "wait", "wait", **of,
                    events=timeline.events.get((worker, number), ""),
                )  # fmt: skip
                self._end(track, task["body_begin"])
            if not task["body"]:
                continue
            facts = {
                "kind": family.kind, "class": family.kind_class, "module": family.module,
                "window": family.window,
                "begin": task["begin"], "end": task["end"], "weight_bytes": task["weight_bytes"],
                "body_ns": task["body_end"] - task["body_begin"], "ring_wait_ns": task["ring"],
                "wait_ns": task["body_begin"] - task["wait_begin"],
            }  # fmt: skip
            self._begin(track, task["body_begin"], "task", family.name, **of, **facts)
            self._end(track, task["signalled"])

    def _begin(self, track: int, time: int, category: str, name: str, **facts: int | float | str) -> None:
        packet = self.trace.packet.add(trusted_packet_sequence_id=_SEQUENCE, timestamp=time)
        packet.sequence_flags = self._packet.SEQ_NEEDS_INCREMENTAL_STATE
        event = packet.track_event
        event.type, event.track_uuid = self._event.TYPE_SLICE_BEGIN, track
        event.name_iid = self._number(packet, "event_names", name)
        event.category_iids.append(self._number(packet, "event_categories", category))
        for key, value in facts.items():
            fact = event.debug_annotations.add(name_iid=self._number(packet, "debug_annotation_names", key))
            if isinstance(value, str):
                fact.string_value_iid = self._number(packet, "debug_annotation_string_values", value)
            elif isinstance(value, float):
                fact.double_value = value
            else:
                fact.int_value = value

    def _end(self, track: int, time: int) -> None:
        event = self.trace.packet.add(trusted_packet_sequence_id=_SEQUENCE, timestamp=time).track_event
        event.type, event.track_uuid = self._event.TYPE_SLICE_END, track

    def _number(self, packet: Any, table: str, text: str) -> int:
        number = self._numbers.get((table, text))
        if number is None:
            number = self._numbers[table, text] = len(self._numbers) + 1
            entry = getattr(packet.interned_data, table).add(iid=number)
            if table == "debug_annotation_string_values":
                entry.str = text.encode()
            else:
                entry.name = text
        return number


def _span(tasks: np.ndarray[Any, Any]) -> tuple[int, int]:
    return int(tasks["wait_begin"].min()), int(tasks["signalled"].max())


def _named(values: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(TASK.names or (), values, strict=True))


def read(path: str | os.PathLike[str]) -> Timeline:
    """A timeline that `write` has written.

    Raises InputError if the file is none of them, OSError if it cannot be read, MkError if `perfetto` is not installed.
    """
    messages = proto()
    from google.protobuf.message import DecodeError

    try:
        trace = messages.Trace.FromString(Path(path).read_bytes())
        return _timeline(list(_slices(messages.TrackEvent, trace)))
    except (DecodeError, KeyError, IndexError, ValueError) as error:
        raise InputError(f"{path}: not a trace of mk, or not all of it") from error


@dataclass(frozen=True)
class _Slice:
    """A slice with its arguments; `facts["name"]` is its name."""

    track: int
    category: str
    begin: int
    end: int
    facts: dict[str, Any]


def _slices(event_type: Any, trace: Any) -> Iterator[_Slice]:
    """Each slice when it ends."""
    texts: dict[tuple[str, int], str] = {}
    open_slices: dict[int, list[tuple[str, int, dict[str, Any]]]] = {}
    for packet in trace.packet:
        data = packet.interned_data
        for table in ("event_names", "event_categories", "debug_annotation_names"):
            texts |= {(table, entry.iid): entry.name for entry in getattr(data, table)}
        texts |= {("strings", entry.iid): entry.str.decode() for entry in data.debug_annotation_string_values}
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        stack = open_slices.setdefault(event.track_uuid, [])
        if event.type == event_type.TYPE_SLICE_END:
            category, begin, facts = stack.pop()
            yield _Slice(event.track_uuid, category, begin, packet.timestamp, facts)
            continue
        facts = {"name": texts["event_names", event.name_iid]}
        for fact in event.debug_annotations:
            value = getattr(fact, fact.WhichOneof("value"))
            if fact.HasField("string_value_iid"):
                value = texts["strings", value]
            facts[texts["debug_annotation_names", fact.name_iid]] = value
        stack.append((texts["event_categories", event.category_iids[0]], packet.timestamp, facts))


def _timeline(slices: list[_Slice]) -> Timeline:
    by = {name: [s for s in slices if s.category == name] for name in ("program", "step", "wait", "task")}
    (whole,) = by["program"]
    if whole.facts["format"] != _FORMAT:
        raise ValueError(whole.facts["format"])
    steps = [
        Step(
            s.facts["step"],
            s.facts["tokens"],
            s.facts["kv_bytes"],
            tuple(map(int, s.facts["contexts"].split())),
        )
        for s in by["step"]
    ]
    place = {step.number: i for i, step in enumerate(steps)}
    families: dict[int, Family] = {}
    events: dict[tuple[int, int], str] = {}
    rows: list[tuple[Any, ...]] = []
    last: tuple[Any, ...] | None = None
    for s in slices:
        if s.category not in ("wait", "task"):
            continue
        facts, worker = s.facts, s.track - _WORKERS
        key = place[facts["step"]], worker, facts["instruction"], facts["family"]
        if s.category == "wait":
            if facts["events"]:
                events[worker, facts["instruction"]] = facts["events"]
            last = (*key, 0, 0, False, 0, s.begin, s.end, s.end, s.end, 0)
            rows.append(last)
            continue
        if last is not None and last[:3] == key[:3]:  # its wait
            rows.pop()
        last = None
        body_end = s.begin + facts["body_ns"]
        rows.append((*key, facts["begin"], facts["end"], True, facts["weight_bytes"], s.begin - facts["wait_ns"],
                     s.begin, body_end, s.end, facts["ring_wait_ns"]))  # fmt: skip
        families[facts["family"]] = Family(
            facts["for"], facts["kind"], facts["class"], facts["module"], facts["window"]
        )
    tasks = np.array(rows, TASK)
    tasks.sort(order=["step", "worker", "instruction"])
    workers, ceiling = whole.facts["workers"], whole.facts["ceiling"]
    ordered = [families[i] for i in range(len(families))]
    return Timeline(whole.facts["name"], workers, ceiling, ordered, steps, tasks, events)
