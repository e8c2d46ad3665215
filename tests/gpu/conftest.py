"""What only a CUDA device can show; where there is none, nothing here is collected."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
