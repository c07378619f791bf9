"""From a similarity matrix to the segments in which two videos show the same."""
