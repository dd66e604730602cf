"""What the encoders see: Kaldi filter banks, spectra, SpecAugment, mixup."""
