"""The aws backend: jobs in an account, what they are given, how they are waited for and told about."""
