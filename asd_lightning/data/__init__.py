"""From files to batches: names, layouts, decoding, the clip cache, the data module, synthetic machines."""
