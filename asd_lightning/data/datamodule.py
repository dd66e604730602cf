"""The LightningDataModule: from a folder of recordings to batches."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from asd_lightning.data.audio import Channel
from asd_lightning.data.batch import Batch
from asd_lightning.data.cache import ClipStore
from asd_lightning.data.dataset import ClipDataset, NoiseSource
from asd_lightning.data.far_channel import fit_reductions
from asd_lightning.data.folders import machine_folders
from asd_lightning.data.labels import ClassLabel, LabelScheme, class_table, encode_labels
from asd_lightning.data.layout import Clip, find_clips
from asd_lightning.data.preprocessing import Pad, Preprocessing
from asd_lightning.data.pseudo_classes import PseudoClasses, read_pseudo_classes
from asd_lightning.data.recordings import RecordingsTable, cut_recordings, find_table
from asd_lightning.data.sampler import SamplerName, StepSampler
from asd_lightning.data.supplemental import Supplemental, as_labeled, is_clean, is_noise
from asd_lightning.data.truth_place import NO_TRUTH, find_truth
from asd_lightning.data.usable import (
    keep_supplemental,
    keep_trained,
    report_skipped,
    say_what_is_heard,
    warn_of_mixtures,
)
from asd_lightning.errors import UserError


class ClipDataModule(pl.LightningDataModule):
    """Serves the clips of a folder: training batches, and for testing [reference, query].

    The reference is every normal training clip, the bank a scorer is fitted to; the query is every test clip.

    Attributes:
        clips: every usable clip; a batch's ``clip_id`` is the place in this list.
        classes: the training classes; a batch's ``label`` is the place in this list.
        preprocessing: from a recording to what a model hears.
    """

    def __init__(  # noqa: PLR0913 - the settings of conf/data
        self,
        root: str | Path,
        *,
        machines: Sequence[str] | None = None,
        labels: LabelScheme = "machine_attribute",
        clip_seconds: float = 10.0,
        hop_seconds: float | None = None,
        sample_rate: int = 16_000,
        channel: Channel | Literal["reduced", "residual"] = 0,
        pad: Pad = "tile",
        test_windows: int = 1,
        residual: float = 0.5,
        batch_size: int = 16,
        test_batch_size: int = 32,
        sampler: SamplerName = "uniform",
        num_workers: int | None = None,
        cache_dir: str | Path = "cache/clips",
        truth: str | Path | None = None,
        recordings: str | Path | None = None,
        pseudo_classes: str | Path | None = None,
        group: Literal["recording", "clip"] = "recording",
        supplemental: Supplemental = "none",
        supplemental_snr_db: Sequence[float] = (0.0, 15.0),
        on_bad_file: Literal["skip", "stop"] = "skip",
        seed: int = 0,
        hold_out_seed: int = 0,
    ) -> None:
        """Note the settings; nothing is looked for before `prepare_data`.

        Args:
            root: folder of recordings, see `asd_lightning.data.layout`.
            machines: use these alone.
            labels: what a class is.
            clip_seconds: length of every waveform served; shorter clips are padded.  Longer clips of the challenge are
                cropped, at random in training and at the centre in test; longer recordings of one's own are cut into
                windows that cover them, see `asd_lightning.data.preprocessing`.
            hop_seconds: from the start of one of those windows to the next; ``None`` is ``clip_seconds``.
            sample_rate: in Hz.
            channel: which channel of several, their ``mean``, or the near one less what the far one tells of the
                surroundings: ``reduced``, fitted to each machine's training clips
                (`asd_lightning.features.far_microphone`), or ``reduced_per_clip`` and ``subtracted``, of each clip
                alone (`asd_lightning.features.two_microphones`); or ``residual``: both are embedded in a test.
            pad: repeat a short clip, or follow it with zeros.
            test_windows: score the mean embedding of this many crops, evenly spaced over the clip.
            residual: with that channel, how much of the far embedding is subtracted from the near one.
            batch_size: clips per micro-batch and device.
            test_batch_size: likewise when testing.
            sampler: draw clips uniformly, or classes first.
            num_workers: processes that read ahead; 0 reads in the training process, ``None`` takes half of the cores,
                at most 4, and none where there are fewer than 4: the clips are decoded already.
            cache_dir: where decoded clips are kept.
            truth: the organisers' truth about anonymous test clips, joined onto the scores when all is scored; by
                default what a download has left below ``root``, if anything; ``none``: none.  It is never opened here.
            recordings: a table ``file,recording`` of which clips were cut from one recording; by default recordings.csv
                beside the machines, where there is one.
            pseudo_classes: a table ``machine,file,pseudo_class`` of training clips without an attribute
                (`asd_lightning.data.pseudo_classes`): what stands there takes the attribute's place in their class.
            group: what is left out of the bank together when training clips are scored for the threshold: all clips of
                one ``recording``, or each file (``clip``).
            supplemental: use of supplemental clips in training alone: ``noise`` mixes noise-only clips of the same
                machine into the training waveforms, ``clean`` trains on clean machine sound too, in the machine's class
                without attributes; ``both``, or ``none``.  The reference never holds one.
            supplemental_snr_db: lowest and highest ratio (dB) at which noise is mixed in; drawn uniformly.
            on_bad_file: leave unusable recordings out and name them at the end, or stop.
            seed: of every draw but that of held-out recordings.
            hold_out_seed: which normal recordings are held out for testing where a machine has no test recordings.
        """
        super().__init__()
        _refuse_unknown("labels", labels, get_args(LabelScheme))
        _refuse_unknown("group", group, ("recording", "clip"))
        _refuse_unknown("sampler", sampler, get_args(SamplerName))
        _refuse_unknown("supplemental", supplemental, get_args(Supplemental))
        _refuse_unknown("on_bad_file", on_bad_file, ("skip", "stop"))
        self._root = Path(root)
        self._machines = machines
        self._labels: LabelScheme = labels
        self.preprocessing = Preprocessing(sample_rate, channel, clip_seconds, hop_seconds, pad, test_windows, residual)
        self._recordings = recordings
        self._pseudo_classes = pseudo_classes
        self._group = group
        self._batch_size = batch_size
        self._test_batch_size = test_batch_size
        self._sampler: SamplerName = sampler
        self._num_workers = _workers_of_this_machine() if num_workers is None else num_workers
        self._cache_dir = Path(cache_dir)
        self._truth = truth
        self._supplemental: Supplemental = supplemental
        self._snr_db = _ordered_pair(supplemental_snr_db)
        self._on_bad_file = on_bad_file
        self._seed = seed
        self._hold_out_seed = hold_out_seed
        self._found: list[Clip] | None = None
        self._store: ClipStore | None = None
        self._far: ClipStore | None = None

    def prepare_data(self) -> None:
        """Find and decode every clip, once per node; further calls do nothing.

        Raises:
            UserError: nothing usable below the root, an unusable recording while ``on_bad_file`` is ``stop``, or no
                such truth.
        """
        if self._store is not None:
            return
        self._refuse_absent_truth()
        clips = cut_recordings(self.recordings(), self.preprocessing)
        reduced = self.preprocessing.channel == "reduced"
        reductions = fit_reductions(clips, self._cache_dir, self.preprocessing.sample_rate) if reduced else None
        store = ClipStore(clips, self._cache_dir, self.preprocessing.decode_options, reductions)
        if far_options := self.preprocessing.far_options:
            self._far = ClipStore(store.clips, self._cache_dir, far_options)
            store.skipped |= self._far.skipped
            both = set(self._far.clips)
            store.keep(lambda clip: clip in both)
        report_skipped(store.skipped, stop=self._on_bad_file == "stop")
        self._store = store
        keep_trained(store, {self.clips[clip_id].machine for clip_id in self._reference_ids()}, self._root)
        keep_supplemental(store, self._supplemental, self._root)
        warn_of_mixtures(store, self.preprocessing.sample_rate)
        say_what_is_heard(store, self.preprocessing)

    def recordings(self) -> list[Clip]:
        """What is found below the root, before anything is decoded, cut or left out.

        Raises:
            UserError: nothing usable is there.
        """
        if self._found is None:
            table = self._table()
            clips = find_clips(self._root, self._machines, self._hold_out_seed, table.recording if table else None)
            if table is not None and self._group == "recording":
                clips = table.named(clips, whole=self._machines is None)
            self._found = [clip for clip in clips if self._supplemental != "none" or clip.split != "supplemental"]
        return self._found

    def setup(self, stage: str) -> None:
        """Open the decoded clips on every process."""
        self.prepare_data()

    @property
    def clips(self) -> list[Clip]:
        """Every usable clip; a batch's ``clip_id`` is the place in this list."""
        return self._opened().clips

    @property
    def classes(self) -> list[ClassLabel]:
        """The training classes; a batch's ``label`` is the place in this list."""
        return class_table((self._labeled(self.clips[clip_id]) for clip_id in self._training_ids()), self._labels)

    @cached_property
    def pseudo_classes(self) -> PseudoClasses:
        """As the table says, which is read once; empty where there is none.

        Raises:
            UserError: it cannot be read, or is of none of the training clips.
        """
        if self._pseudo_classes is None:
            return {}
        classes = read_pseudo_classes(Path(self._pseudo_classes))
        if not any((clip.machine, clip.file) in classes for clip in self.clips if clip.split == "train"):
            raise UserError(
                f"{self._pseudo_classes}: none of its files is a training clip's; correct data.pseudo_classes"
            )
        return classes

    @property
    def truth_path(self) -> Path | None:
        """Where the truth about anonymous test clips is, for those who come after the scoring."""
        if self._truth == NO_TRUTH:
            return None
        return find_truth(self._root) if self._truth is None else Path(self._truth)

    @property
    def num_samples(self) -> int:
        """Samples of each waveform served."""
        return self.preprocessing.samples

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the whole run, from the step the trainer has reached."""
        trainer = self.trainer
        if trainer is None:
            raise RuntimeError("the training loader needs the trainer, for its step, rank and length: call trainer.fit")
        if trainer.max_steps < 0:
            raise UserError("the training loader is as long as the run: set trainer.max_steps")
        clip_ids = self._training_ids()
        labels = self._encoded(clip_ids)
        accumulate = trainer.accumulate_grad_batches
        sampler = StepSampler(
            labels,
            self._batch_size,
            total=trainer.max_steps * accumulate,
            start=trainer.global_step * accumulate,
            seed=self._seed,
            sampler=self._sampler,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        noise = NoiseSource(self._noise_ids(), self._snr_db) if self._supplemental in ("noise", "both") else None
        return self._loader(self._dataset(clip_ids, labels, noise), batch_sampler=sampler)

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """[reference, query]: normal training clips, then test clips."""
        return [self._test_loader(self._reference_ids()), self._test_loader(self._query_ids())]

    def training_clips(self) -> dict[str, str]:
        """``machine/name`` of each clip trained on -> digest of its samples as decoded."""
        return self._samples(self._training_ids())

    def test_clips(self) -> dict[str, str]:
        """Likewise, of each clip that is scored."""
        return self._samples(self._query_ids())

    def recordings_trained_on(self) -> dict[str, str]:
        """``machine/name`` of each clip in the bank -> the recording it was cut from."""
        clips = (self.clips[clip_id] for clip_id in self._reference_ids())
        return {f"{clip.machine}/{clip.name}": clip.recording for clip in clips}

    def _samples(self, clip_ids: Iterable[int]) -> dict[str, str]:
        store = self._opened()
        named = ((store.clips[clip_id], store.content(clip_id)) for clip_id in clip_ids)
        return {f"{clip.machine}/{clip.name}": f"{samples}-{check:08x}" for clip, (samples, check) in named}

    @property
    def contents(self) -> dict[Path, str]:
        """Digest of each recording's content when it was decoded."""
        return self._opened().contents

    def waveform(self, clip_id: int) -> NDArray[np.float32]:
        """One whole clip as decoded, for listening and plots."""
        return self._opened().read(clip_id)

    def _opened(self) -> ClipStore:
        if self._store is None:
            raise RuntimeError("call prepare_data() first")
        return self._store

    def _reference_ids(self) -> list[int]:
        return [i for i, clip in enumerate(self.clips) if clip.split == "train" and clip.condition != "anomaly"]

    def _training_ids(self) -> list[int]:
        clean = (i for i, clip in enumerate(self.clips) if self._supplemental in ("clean", "both") and is_clean(clip))
        return [*self._reference_ids(), *clean]

    def _noise_ids(self) -> dict[str, list[int]]:
        ids: dict[str, list[int]] = {}
        for clip_id, clip in enumerate(self.clips):
            if is_noise(clip):
                ids.setdefault(clip.machine, []).append(clip_id)
        return ids

    def _encoded(self, clip_ids: Sequence[int]) -> list[int]:
        return encode_labels([self._labeled(self.clips[clip_id]) for clip_id in clip_ids], self.classes, self._labels)

    def _labeled(self, clip: Clip) -> Clip:
        """The clip as its class is told."""
        if clip.attribute or clip.split != "train":
            return as_labeled(clip)
        return replace(clip, attribute=self.pseudo_classes.get((clip.machine, clip.file), ""))

    def _query_ids(self) -> list[int]:
        return [i for i, clip in enumerate(self.clips) if clip.split == "test"]

    def _dataset(self, clip_ids: list[int], labels: list[int], noise: NoiseSource | None = None) -> ClipDataset:
        return ClipDataset(self._opened(), clip_ids, labels, self.preprocessing, noise, self._far)

    def _test_loader(self, clip_ids: list[int]) -> DataLoader[Batch]:
        # Each process takes its share; the test step gathers them again by clip_id.
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        mine = clip_ids[rank::world_size]
        return self._loader(self._dataset(mine, self._encoded(mine)), batch_size=self._test_batch_size)

    def _loader(self, dataset: ClipDataset, **how: Any) -> DataLoader[Batch]:
        workers = self._num_workers
        return DataLoader(
            dataset,
            collate_fn=_as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=_on_gpu(self),
            worker_init_fn=_leave_interrupts_to_the_trainer,
            **how,
        )

    def _refuse_absent_truth(self) -> None:
        path = self.truth_path
        if path is not None and not path.exists():
            raise UserError(f"{path}: no such truth; give a list or folder with data.truth, or leave it out")

    def _table(self) -> RecordingsTable | None:
        """Which clips belong to one recording, where a table says so."""
        parents = (folder.parent for _, folder in machine_folders(self._root, self._machines))
        path = Path(self._recordings) if self._recordings else find_table({self._root, *parents})
        return None if path is None else RecordingsTable(path)


def _refuse_unknown(option: str, value: str, known: tuple[str, ...]) -> None:
    """Hydra passes any text on; some of it would be taken for another choice without a word."""
    if value not in known:
        raise UserError(f"data.{option}={value}: choose one of {', '.join(known)}")


def _ordered_pair(snr_db: Sequence[float]) -> tuple[float, float]:
    if len(snr_db) != 2 or not snr_db[0] <= snr_db[1]:
        raise UserError(
            f"data.supplemental_snr_db={list(snr_db)}: give the lowest and the highest ratio in dB, as [0, 15]"
        )
    return float(snr_db[0]), float(snr_db[1])


def _workers_of_this_machine() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores // 2) if cores >= 4 else 0


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_interrupts_to_the_trainer(_: int) -> None:
    """Ctrl-C reaches every process of the terminal: the update in progress still needs its batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _on_gpu(module: ClipDataModule) -> bool:
    return module.trainer is not None and module.trainer.strategy.root_device.type == "cuda"
