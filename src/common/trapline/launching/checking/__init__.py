"""What is wrong with requests, a pipeline or the code, found before the first cent."""
