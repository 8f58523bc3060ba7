"""SageMaker Pipelines, defined and started on your machine."""
