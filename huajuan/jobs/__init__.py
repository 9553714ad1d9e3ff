"""Generation jobs: the queue, the inference servers, and the runner that draws each job once."""
