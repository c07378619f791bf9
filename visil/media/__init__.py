"""Files -> Frames: readers, sampling by presentation time, resizing, decoding in worker processes."""
