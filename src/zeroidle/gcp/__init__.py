"""The only place that imports google.cloud: one adapter per port."""
