"""Back-ends: from embeddings to an anomaly score, a threshold and a decision."""
