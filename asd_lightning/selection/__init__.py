"""Which encoder, layer or pooling to take, from normal recordings alone."""
