"""Features to tokens, tokens to vectors: BEATs, EAT, the spectrum CNN, log-mel statistics, pooling."""
