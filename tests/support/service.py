"""SageMaker for many training jobs, as a test has written it down: what each job says at each look."""

from tests.support.cloud import refused


class Service:
    """Jobs that run for `looks` looks each and then end, well or as `endings` says of their label.

    `most`: running at a time, as AWS saw it. `quota`: machines that the account may have at a time.
    `troubles`: what a look raises in place of an answer, the first one first.
    """

    def __init__(self, looks=2, endings=None, quota=100):
        self.looks, self.endings, self.quota = looks, endings or {}, quota
        self.jobs = {}  # name -> looks left
        self.ends = {}  # name -> how it ends
        self.sent, self.troubles, self.most = [], [], 0

    def label_of(self, name):
        """The label in `NAME-LABEL-STAMP`."""
        return name.removeprefix("many-").rpartition("-")[0]

    def create(self, name):
        """A job is sent."""
        if len(self.running()) >= self.quota:
            raise refused("ResourceLimitExceeded", "the limit is reached", "CreateTrainingJob")
        self.sent.append(self.label_of(name))
        self.jobs[name] = self.looks
        self.ends[name] = self.endings.get(self.label_of(name), "Completed")
        self.most = max(self.most, len(self.running()))

    def running(self):
        """The names of the jobs that run."""
        return [name for name, looks in self.jobs.items() if looks > 0]

    def describe_training_job(self, TrainingJobName):
        """A look at a job."""
        if self.troubles:
            raise self.troubles.pop(0)
        if TrainingJobName not in self.jobs:
            raise refused("ValidationException", "Requested resource not found.")
        self.jobs[TrainingJobName] -= 1
        left = self.jobs[TrainingJobName]
        status = "InProgress" if left > 0 else self.ends[TrainingJobName]
        return {
            "TrainingJobName": TrainingJobName,
            "TrainingJobStatus": status,
            "SecondaryStatus": "Training" if left > 0 else status,
            "FailureReason": "it diverged" if status == "Failed" else "",
            "ResourceConfig": {"InstanceType": "ml.g5.12xlarge", "InstanceCount": 2},
            "TrainingTimeInSeconds": 1800,
            "BillableTimeInSeconds": 900,
            "ModelArtifacts": {"S3ModelArtifacts": f"s3://b/{TrainingJobName}/output/model.tar.gz"},
            "OutputDataConfig": {"S3OutputPath": "s3://b"},
        }
