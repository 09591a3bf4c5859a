"""Restoring a video: decode, windows, network, encode, each at work while the others are.

Memory does not depend on the video's length. Finished segments outlive an interruption.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from votes import checkpoint
from votes.archs.contract import Causal, Clip, promise
from votes.archs.parts.blocks import compile_blocks, enlarged
from votes.data.ahead import ahead
from votes.errors import UserError
from votes.inference.ensemble import Ensemble, check_ensemble, parse_ensemble
from votes.inference.frames import to_image
from votes.inference.stream import SAME, Shown, Stream, fit, laid_out, precision_gap
from votes.inference.tiles import Limits
from votes.inference.views import View, Views, groups
from votes.processes.signals import Preempted, StopRequests
from votes.restore.inputs import Reader, SideInformation, open_input
from votes.restore.job import Job, fingerprint
from votes.restore.progress import Reporter, peak_memory
from votes.restore.settings import Settings, Summary, check_paths
from votes.restore.sinks import PictureSink, Sink, VideoSink
from votes.video.mux import Source
from votes.video.read import TimedFrame, VideoReader


class Restoration:
    """A network, a source, and how the one is to be applied to the other.

    Attributes:
        settings: with what was chosen in place of 'auto'.
        notes: what a user should know.
    """

    def __init__(self, net: nn.Module, source: str | Path, settings: Settings, device: str | torch.device):
        self.device, self.source = torch.device(device), Path(source)
        self.net = net.to(self.device).eval()
        self.said = promise(net)
        self.scale = self.said.scale
        self.piece = settings.chunk if isinstance(self.said.sees, Clip) else None
        if self.piece is not None:  # pieces must not hang over the end of a segment
            settings = dataclasses.replace(settings, segment=-(-settings.segment // self.piece) * self.piece)
        self.settings = settings
        check_ensemble(parse_ensemble(settings.ensemble), self.said)
        self.side_information = SideInformation(self.source, self.said) if self.said.reads_codec else None
        self.snapshots: dict[int, dict[str, Any]] = {}  # segment -> what the next one needs of it
        self.notes: list[str] = list(self.side_information.notes) if self.side_information else []
        self.decoded = 0
        with self.open() as reader:
            self.size = reader.size
            self.new_size = reader.size[0] * self.scale, reader.size[1] * self.scale
            self._choose_precision(reader)
        self.limits = Limits(settings.tile or None, settings.overlap, settings.batch)

    def open(self) -> Reader:
        return open_input(self.source, self.settings.reading)

    def beside(self, reader: Reader) -> Source | None:
        """What everything but the picture is taken from: nothing for a part of a video, pictures and raw YUV."""
        if not isinstance(reader, VideoReader) or not self.settings.whole or self.settings.reading.raw:
            return None
        return Source(self.source, reader.index, reader.survey) if reader.survey else None

    def _choose_precision(self, reader: Reader) -> None:
        amp = self.settings.amp
        wished = {'auto': 'bf16' if self.device.type == 'cuda' else 'none'}.get(amp, amp)
        if wished != 'none':
            view = next(self.views(reader, lambda index: True))
            frames = {i: self.shown(i, f) for i, f in view.frames.items()}
            gap = precision_gap(self.net, self.device, wished, view, frames)
            if gap < SAME:
                text = f'{wished} differs from float32 by {gap:.1f} dB on the first frame'
                self.notes.append(text + (', float32 is used' if amp == 'auto' else ''))
                wished = 'none' if amp == 'auto' else wished
        self.settings = dataclasses.replace(self.settings, amp=wished)

    def choose_tile(self) -> None:
        """By the memory that is free, unless told."""
        if self.settings.tile is None:
            sees = self.said.sees
            around = 2 * sees.context if isinstance(sees, Clip) else getattr(sees, 'look_ahead', 0)
            count = self.said.frames((self.piece or 1) + around)
            self.limits.tile = fit(self.net, self.device, self.settings.amp, *self.size, count)

    def views(self, reader: Reader, wanted: Callable[[int], bool], start: int = 0) -> Iterator[View]:
        """What the network is shown for the wanted frames."""
        peak = self.side_information.peak if self.side_information else None
        until = self.settings.frames[1]
        views = Views(self.said, wanted=wanted, piece=self.piece, peak=peak, start=start, until=until)
        return views.of(self._counted(reader))

    def shown(self, number: int, frame: TimedFrame) -> Shown:
        """A frame on the device, with what the codec said about it where the network reads that."""
        fields = self.side_information.read(number) if self.side_information else {}
        rgb = frame.rgb if frame.rgb.dtype == np.uint8 else frame.rgb.astype(np.float32)
        lq = torch.from_numpy(rgb).to(self.device).permute(2, 0, 1).unsqueeze(0).float()
        lq = lq.div_(np.iinfo(frame.rgb.dtype).max).contiguous()
        return {'lq': lq} | {name: value.to(self.device) for name, value in fields.items()}

    def _counted(self, reader: Reader) -> Iterator[TimedFrame]:
        self.decoded = 0
        for self.decoded, frame in enumerate(reader, 1):
            yield frame

    def stream(self) -> Stream | Ensemble:
        """What computes: the network on windows, alone or as an ensemble."""
        if self.settings.compile:
            compile_blocks(self.net)
        laid_out(self.net, self.settings.amp)
        one = partial(Stream, self.net, self.device, self.settings.amp, self.limits)
        members = parse_ensemble(self.settings.ensemble)
        return one() if len(members) == 1 else Ensemble(one, members)

    def results(
        self, reader: Reader, wanted: Callable[[int], bool], before: dict[str, Any] | None = None
    ) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Number, time and picture of the wanted frames, in order; threads decode and compute ahead.

        Args:
            before: what a Causal network knew after an earlier segment, see `snapshots`; where it goes on.
        """
        maker, start = self.stream(), 0
        if before:
            maker.take_over(before['maker'])
            start = int(before['next'])

        def converted() -> Iterator[View]:
            for view in self.views(reader, wanted, start):
                for frame in view.frames.values():
                    _ = frame.rgb
                yield view

        views = ahead(converted(), 2 + self.settings.batch)
        return ahead(self._computed(maker, views, wanted, reader.bits > 8), 4)

    def _computed(
        self, maker: Stream | Ensemble, views: Iterator[View], wanted: Callable[[int], bool], deep: bool
    ) -> Iterator[tuple[int, int, NDArray[Any]]]:
        frames: dict[int, Shown] = {}
        causal, size = isinstance(self.said.sees, Causal), self.settings.segment
        for group in groups(views, self.settings.batch, size):
            needed = {i: frame for view in group for i, frame in view.frames.items()}
            frames = {i: frames[i] if i in frames else self.shown(i, frame) for i, frame in needed.items()}
            pictures = iter(maker.restore(group, frames))
            for index in (c for view in group for c in view.centres):
                picture = next(pictures)
                if causal and (index + 1) % size == 0 and wanted(index):
                    self.snapshots[index // size] = {'next': index + 1, 'maker': maker.snapshot()}
                if wanted(index):
                    yield index, needed[index].pts, to_image(self._weakened(picture, frames[index]['lq']), deep)

    def _weakened(self, picture: Tensor, lq: Tensor) -> Tensor:
        """A restored frame (3, S*h, S*w) and its source (1, 3, h, w) mixed by the strength that was asked for."""
        share = self.settings.strength
        if share == 1:
            return picture
        plain = lq if self.scale == 1 else enlarged(lq, self.new_size)
        return plain[0].to(picture).lerp(picture.clamp(0, 1), share)

    def description(self, target: Path) -> dict[str, Any]:
        """All that the output depends on."""
        return {
            'format': 1,
            'source': fingerprint(self.source),
            'network': checkpoint.digest(self.net)[:16],
            'settings': {k: str(v) for k, v in dataclasses.asdict(self.settings).items()},
            'output': target.suffix.lower(),
            'av': av.__version__,
        }


def _write_segments(
    work: Restoration, reader: Reader, job: Job, sink: Sink, reporter: Reporter, part: tuple[int, int]
) -> bool:
    """Makes the segments that are missing; False if it was asked to stop before all were there."""
    size, done = work.settings.segment, job.segments()

    def wanted(index: int) -> bool:
        number = index // size
        return work.settings.asked_for(index) and number not in done and number % part[1] == part[0]

    missing = next(number for number in itertools.count() if number not in done)
    before = job.recall_state(missing) if isinstance(work.said.sees, Causal) else None
    results = cast(Any, work.results(reader, wanted, before))
    with StopRequests() as stop, contextlib.closing(results):
        try:
            for made, (number, rows) in enumerate(itertools.groupby(results, lambda row: row[0] // size)):
                if made and stop.asked():
                    return False
                times = []
                with sink.segment(number) as (path, write):
                    for index, pts, rgb in rows:
                        times.append(pts)
                        write(rgb, index, pts)
                        reporter.advance()
                job.remember(dataclasses.asdict(work.limits))
                if number in work.snapshots:
                    job.remember_state(number, work.snapshots.pop(number))
                job.finish(number, path, len(times), times[0])
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            free = f'{shutil.disk_usage(job.folder).free} bytes free'
            fix = 'make room and repeat the command: finished segments are kept'
            raise UserError('the disk is full', where=job.folder, value=free, fix=fix) from error
    return True


def restore_video(
    net: nn.Module,
    source: str | Path,
    target: str | Path,
    *,
    device: str | torch.device = 'cpu',
    settings: Settings | None = None,
    overwrite: bool = False,
    progress: str = 'auto',
    restart: bool = False,
    part: tuple[int, int] | None = None,
) -> Summary:
    """Restores a video: every frame at its own time, everything else copied.

    Args:
        net: keeps the contract of votes.archs.contract.
        target: a video file, or without a suffix a folder of PNGs. Appears when it is complete; until then finished
            segments are in ``target.votes-job``, and the same call goes on with them.
        progress: one of progress.KINDS.
        restart: begin anew where another job was interrupted.
        part: (i, N): only every Nth segment from the ith on, for another process to join.

    Raises:
        UserError: the source cannot be read, or the target must not be written.
        Preempted: a signal asked to stop; the segment at hand is finished.
    """
    started = time.monotonic()
    source, target = Path(source), Path(target)
    check_paths(source, target, overwrite)
    work = Restoration(net, source, settings or Settings(), device)
    if target.suffix:
        work.settings.encoding(target)  # refuses what does not go together before the folder of a job is made
    begun = Job.of(target, work.description(target), restart, helper=part is not None)
    with begun as job, work.open() as reader:
        if job.recall():
            work.limits = Limits(**job.recall())
        else:
            work.choose_tile()
            job.remember(dataclasses.asdict(work.limits))
        sink: Sink = PictureSink(target, job)
        if target.suffix:
            encoding = work.settings.encoding(target, reader.bits, reader.chroma)
            sink = VideoSink(target, job, work.new_size, reader, encoding, work.beside(reader))
        if part is None:
            _ = sink.announcement  # refuses what the container does
        done = sum(segment.frames for segment in job.segments().values())
        reporter = Reporter(progress, work.settings.count(reader.frames_hint), done, work.device)
        with contextlib.closing(reporter):
            complete = _write_segments(work, reader, job, sink, reporter, part or (0, 1))
        segments = [segment for _, segment in sorted(job.segments().items())]
        frames = sum(segment.frames for segment in segments)
        if not complete:
            raise Preempted(f'stopped after {frames} frames; the same command continues ({job.folder})')
        kept: list[str] = []
        if part is None:
            wanted = sum(map(work.settings.asked_for, range(work.decoded)))
            if frames != wanted or not frames:
                raise UserError('no such frames in the video', where=source, value=f'{work.decoded} frames')
            job.joining()
            target, kept = sink.join(segments)
            job.remove()
        notes = [*reader.notes, *work.notes, *kept, *_warnings(work, reader)]
    seconds, peak = time.monotonic() - started, peak_memory(work.device)
    summary = Summary(frames, seconds, work.size, work.new_size, notes, target, peak, job.resumed)
    reporter.event('done', frames=frames, output=str(target), notes=notes)
    return summary


def _warnings(work: Restoration, reader: Reader) -> list[str]:
    """What turned out on the way."""
    times = ', '.join(f'{float(pts * reader.time_base):.2f} s' for pts in reader.corrupt[:5])
    times += ' ...' if len(reader.corrupt) > 5 else ''
    broken, tile = reader.survey.broken if reader.survey else '', work.limits.tile
    frameless = len(reader.survey.times) - work.decoded if reader.survey and work.settings.whole else 0
    told = {
        'a part of the video, without its sound': not work.settings.whole,
        f'{len(reader.corrupt)} frames are damaged in the source, at {times}': reader.corrupt,
        f'{frameless} packets of the picture give no frame of their own: damage, or halves of frames': frameless > 0,
        f'the source breaks off: {broken}': broken,
        f'in tiles of {tile} pixels: whole frames do not fit into the memory that is free': tile,
    }
    return [note for note, so in told.items() if so]
