from visil.benchmarks.contact_sheet import CAPTION_PX, CELL_PX, MOMENTS, captioned_row, moments, write_png
from visil.synth.video_file import read_still


def test_a_sheet_of_videos_is_a_picture_with_what_is_written_over_them(made_clips, tmp_path):
    width, height = CELL_PX
    cells = [*moments(made_clips / "clip_0.mp4"), *moments(made_clips / "clip_1.mp4")]
    assert [cell.shape for cell in cells] == [(height, width, 3)] * 2 * len(MOMENTS)
    assert (cells[0] != cells[3]).any()
    row = captioned_row("clip_0.mp4, clip_1.mp4", cells)
    assert row.shape == (CAPTION_PX + 4 + height, 2 * len(MOMENTS) * width, 3)
    assert (row[-height:, width : 2 * width] == cells[1]).all()
    assert (row[: CAPTION_PX + 4] == 255).any()
    assert (row == captioned_row("CLIP 0 MP4  CLIP 1 MP4", cells)).all()  # there are letters and digits only
    write_png(tmp_path / "sheets" / "sheet.png", row)
    assert (read_still(tmp_path / "sheets" / "sheet.png") == row).all()


def test_a_long_line_is_cut_at_the_end_of_the_row(made_clips):
    cells = moments(made_clips / "clip_0.mp4")
    assert captioned_row("A" * 500, cells).shape == captioned_row("A", cells).shape
