"""What a system is trained on: one-stage contrastive learning with ArcFace, sub-cluster AdaCos, AdaProj, FeatEx."""
