"""Google Cloud Workflows."""
