"""What users import: `Tagger`, its results, and the pipeline of transformers that answers through it."""
