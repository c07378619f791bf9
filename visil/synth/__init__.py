"""Videos whose truth is known, seeded: scenes, edits, montages, furniture. The only generator of files and truth.

    scenes, camera ─► pictures ─► edits ─► video_file.write_video ─► a file and its EditTruth
    files ─► video_file.read_pictures ─┘   montage joins many      ─► a file and its MontageTruth
                                           furniture around any    ─► a file

Everything is a stream of pictures (uint8 RGB [H, W, 3]): a long video never lies in memory. The same seed
gives the same bytes on the same machine.
"""
