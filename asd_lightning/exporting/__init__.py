"""A detector as one ONNX graph: waveforms in, anomaly scores out."""
