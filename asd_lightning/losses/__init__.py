"""Sub-centre ArcFace, supervised contrastive, and the one-stage loss that joins them."""
