"""What runs on your machine and starts jobs, here, in containers or on AWS. Jobs are not given it."""
