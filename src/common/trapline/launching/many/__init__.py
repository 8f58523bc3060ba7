"""Many jobs of one launch: one after another here, some at a time on AWS, taken up where they were left."""
