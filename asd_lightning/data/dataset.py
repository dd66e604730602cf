"""Waveforms of one fixed length, cut or padded from clips of any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from asd_lightning.data.batch import Batch
from asd_lightning.data.cache import ClipStore
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.sampler import Draw, NoiseDraw
from asd_lightning.data.supplemental import add_noise


@dataclass(frozen=True)
class NoiseSource:
    """What may be mixed into training clips: each machine's noise clips (places in the store), and the range of SNR."""

    clip_ids: Mapping[str, Sequence[int]]
    snr_db: tuple[float, float]


class ClipDataset(Dataset[Batch]):
    """Cropped waveforms, fetched a batch at a time.

    Items are asked for by `Draw` in training (random crop, noise mixed in) and by number in test (the crops that the
    preprocessing names).
    """

    def __init__(
        self,
        store: ClipStore,
        clip_ids: Sequence[int],
        labels: Sequence[int],
        preprocessing: Preprocessing,
        noise: NoiseSource | None = None,
        far: ClipStore | None = None,
    ) -> None:
        self._store = store
        self._far = far
        # The stores drop clips each for itself.
        places = {clip: place for place, clip in enumerate(far.clips)} if far is not None else {}
        self._far_ids = {clip_id: places[store.clips[clip_id]] for clip_id in clip_ids} if places else {}
        self._clip_ids = list(clip_ids)
        self._labels = list(labels)
        self._preprocessing = preprocessing
        self._noise = noise

    def __len__(self) -> int:
        return len(self._clip_ids)

    def __getitem__(self, item: int) -> Batch:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[int] | Sequence[Draw]) -> Batch:
        """A whole batch at once: each clip is copied straight to its place."""
        draws = [item for item in items if isinstance(item, Draw)]
        places = [draw.clip for draw in draws] or [int(item) for item in items if not isinstance(item, Draw)]
        crops = [[draw.crop] for draw in draws] or [self._preprocessing.crops] * len(places)
        ids = [self._clip_ids[place] for place in places]
        waveform = self._crops(self._store, ids, crops)
        if self._noise is not None:
            for row, draw in zip(waveform, draws, strict=True):
                row[0] = self._with_noise(row[0], self._clip_ids[draw.clip], draw.noise, self._noise)
        far = None
        if self._far is not None:
            far = _served(self._crops(self._far, [self._far_ids[clip_id] for clip_id in ids], crops))
        labels = torch.tensor([self._labels[place] for place in places])
        return Batch(_served(waveform), labels, torch.tensor(ids), far)

    def _crops(
        self, store: ClipStore, ids: Sequence[int], crops: Sequence[Sequence[float]]
    ) -> Float32[np.ndarray, "clips windows samples"]:
        waveform = np.empty((len(ids), len(crops[0]), self._preprocessing.samples), dtype=np.float32)
        for row, clip_id, positions in zip(waveform, ids, crops, strict=True):
            for window, position in zip(row, positions, strict=True):
                window[:] = self._crop(store, clip_id, position)
        return waveform

    def _crop(self, store: ClipStore, clip_id: int, position: float) -> NDArray[np.float32]:
        start = self._preprocessing.start_of_crop(store.samples(clip_id), position)
        return self._preprocessing.fit(store.read(clip_id, start, start + self._preprocessing.samples))

    def _with_noise(
        self, waveform: NDArray[np.float32], clip_id: int, draw: NoiseDraw, source: NoiseSource
    ) -> NDArray[np.float32]:
        """A waveform of a machine without noise clips stays as it is."""
        ids = source.clip_ids.get(self._store.clips[clip_id].machine, ())
        if not ids:
            return waveform
        low, high = source.snr_db
        noise = self._crop(self._store, ids[int(draw.clip * len(ids))], draw.crop)
        return add_noise(waveform, noise, low + draw.snr * (high - low))


def _served(waveform: Float32[np.ndarray, "clips windows samples"]) -> Float32[Tensor, "clips *windows samples"]:
    return torch.from_numpy(waveform[:, 0] if waveform.shape[1] == 1 else waveform)
