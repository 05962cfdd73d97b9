"""Predictions on a GPU where there is one: shards of a file, and online requests in the Vertex AI contract.

app.py        HTTP edge          model.py     load, decode, predict, encode
settings.py   what can be set    packed.py    the encoder without padding
device.py     where to compute   batching.py  whose batch is next on the device
shards.py     one shard          registry.py  models from the bucket, within memory
online.py     one online request metrics.py   what Prometheus scrapes
"""
