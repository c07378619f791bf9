"""Names of the annotation files that do not come with visil: what is looked for, and what is read."""

from __future__ import annotations

SVD_UNLABELLED = "unlabeled-data-id"
VCDB_FILES = ("vcdb.json", "vcdb.pickle", "annotation/*.txt")  # the first that is there is read
VCDB_DISTRACTORS = "distractors.txt"
VSC_FILE = "{split}_matching_ground_truth.csv"
VSC_VIDEOS = ("{split}_query_metadata.csv", "{split}_reference_metadata.csv")
VCSL_PAIRS, VCSL_LABELS, VCSL_SETS = "pair_file_{split}.csv", "label_file_uuid_total.json", "split_meta_pairs.json"
