"""The SageMaker Pipeline: defined, checked, started on your machine, run here or on AWS."""
