"""The SageMaker Python SDK v2: its objects, and what is taken of its private parts."""
