"""Which records does a file hold? Reads an input of any supported format and writes Arrow shards for inference."""
