"""What a person looks at after a job: histories and their pictures."""
