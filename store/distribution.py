"""The name that `pip` knows: on package indexes `trialpack` is somebody else's."""

DISTRIBUTION = "trialpack-neuro"
