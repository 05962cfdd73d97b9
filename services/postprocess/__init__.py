"""The third service: merges the predictions of all shards and publishes the result, once and whole."""
