"""Settings: the paper's values, TOML on top of them, clear words about what is wrong."""

import pytest

from visil.errors import DataError
from visil.s2vs.settings import S2VSSettings, read_settings


def read(tmp_path, text="", *changes):
    (tmp_path / "s2vs.toml").write_text(text, encoding="utf-8")
    return read_settings(tmp_path / "s2vs.toml", changes)


def test_an_empty_file_is_the_paper(tmp_path):
    settings = read(tmp_path)
    assert settings == S2VSSettings()
    assert (settings.network.attention, settings.network.comparator_padding) == ("sigmoid", "zeros")
    assert (settings.views.length, settings.views.window, settings.training.batch) == (32, 64, 64)
    assert (settings.loss.temperature, settings.loss.sshn, settings.loss.regularisation) == (0.03, 3.0, 1.0)
    assert (settings.schedule.rate, settings.schedule.steps, settings.training.weight_decay) == (5e-5, 30_000, 0.01)
    strong = settings.views.strong(224)
    assert [step.chance for step in strong.frames.steps] == [0.3, 0.3, 0.5]
    assert list(strong.temporal.chances.values()) == [0.5, 0.1, 0.1, 0.1, 0.1]
    assert (strong.pictures.count, strong.pictures.magnitude) == (2, 9)
    assert (strong.mixing.chance, strong.mixing.shares) == (0.3, (0.3, 0.7))


def test_tables_and_changes(tmp_path):
    settings = read(
        tmp_path,
        '[training]\nbatch = 8\ncell = 4\n[views]\nshares = [0.4, 0.5]\n[network]\ncomparator_padding = "replicate"\n',
        "training.batch=16",
        "bundle=other",
        "network.attention=none",
    )
    assert (settings.training.batch, settings.training.cell) == (16, 4)
    assert settings.views.shares == (0.4, 0.5)
    assert settings.bundle == "other"
    assert (settings.network.attention, settings.network.comparator_padding) == (None, "replicate")


def test_groups_can_be_left_out(tmp_path):
    strong = read(tmp_path, '[views]\ngroups = ["global"]').views.strong(32)
    assert strong.pictures is not None
    assert strong.temporal is strong.frames is strong.mixing is None


def test_the_settings_of_shuffle_dropout_have_an_effect(tmp_path):
    """Published: they have none (defect 1)."""
    shuffling = next(iter(read(tmp_path, "[views]\nshuffle = 0.9\ndropout = 0.1").views.strong(32).temporal.chances))
    assert (shuffling.shuffle, shuffling.dropout) == (0.9, 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[trainin]\nbatch = 3", r"no setting trainin; did you mean training\?"),
        ("[training]\nbach = 3", r"no setting training\.bach; did you mean training\.batch\?"),
        ("[training]\nbatch = 1.5", r"training\.batch is a whole number, got 1\.5"),
        ("[training]\nbatch = true", r"training\.batch is a whole number, got True"),
        ("training = 3", r"training is a table, \[training\], got 3"),
        ("[views]\nshares = [0.1]", r"views\.shares is a list of 2"),
        ('[views]\ngroups = ["GT"]', r"\[views\] groups are global, .* got 'GT'"),
        ('[loss]\nkind = "l2"', r"\[loss\] kind of a loss must be one of s2vs, triplet"),
        ("[loss]\ntemperature = 0", r"temperature must be more than 0"),
        ("[training]\nbatch = 3", r"batch must be a multiple of cell"),
        ("[network]\nbits = 64", r"\[network\] attention and bits exclude each other"),
        ('[network]\nattention = "none"\nbits = 20', r"network\.bits must be a multiple of 8, got 20"),
        ('[network]\nattention = "none"\ncomparator_padding = "none"', "has nothing to train"),
        ("[schedule]\nsteps = 0", r"\[schedule\] .*steps 1 or more"),
        ("[schedule]\nrate = 0", r"rate must be above 0"),
        ("[schedule]\nrate = nan", r"rate must be above 0"),
        ("[training]\nlog_steps = 0", r"log_steps must be 1 or more, got 0"),
        ("[training]\nbatch = 0", r"batch must be 1 or more, got 0"),
        ("[training]\nseed = -1", r"seed must be 0 or more, got -1"),
        ("[views]\ntext = 1.2", r"chances lie between 0 and 1.*text 1\.2"),
        ("[views]\nreverse = 0.9", r"chances lie between 0 and 1"),
        ("[views]\nshares = [0.3, 1.5]", r"shares must be two from 0 to below 1"),
        ("[views]\nweak_area = [0.9, 0.5]", r"weak_area must be two shares above 0"),
        ("[views]\nmagnitude = 31", r"magnitude must lie between 0 and 30"),
        ("[views]\nshortest = 0", r"shortest must lie between 1 and length"),
        ("= 3", "no readable settings"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "s2vs.toml"))


@pytest.mark.parametrize("change", ["training.batch", "=3", "bundle.x=3"])
def test_changes_that_are_none(tmp_path, change):
    with pytest.raises(DataError, match=r"--set|bundle"):
        read(tmp_path, 'bundle = "mini"', change)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"absent\.toml: no readable settings"):
        read_settings(tmp_path / "absent.toml")
