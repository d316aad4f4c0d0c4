"""Text or words in, spans out: windows stitched, batches ordered, tags decoded, results shown."""
