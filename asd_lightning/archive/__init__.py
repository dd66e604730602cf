"""Archives past one machine: the recordings of a detector judged by the nodes of a Ray cluster, into Parquet shards."""
