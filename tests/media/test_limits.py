"""What a file may cost: proportionate to its length, and bounded whatever it claims."""

from __future__ import annotations

import math

import pytest

from visil.errors import DataError
from visil.media.limits import DecodeLimits, Patience

HOUR_S = 3600.0


class TestWholeFile:
    LIMITS = DecodeLimits(stall_s=60)

    def test_has_one_stall_limit_and_ten_times_its_length(self):
        assert self.LIMITS.file_s(0, None) == 60
        assert self.LIMITS.file_s(1000, 6) == 120
        assert self.LIMITS.file_s(1000, 60) == 660

    def test_without_a_length_in_its_header_is_as_long_as_a_video_of_160_kbit_a_second(self):
        assert self.LIMITS.file_s(120_000, None) == self.LIMITS.file_s(120_000, 6)

    def test_is_given_the_longer_of_both_lengths(self):
        assert self.LIMITS.file_s(120_000, 1) == self.LIMITS.file_s(120_000, 6)
        assert self.LIMITS.file_s(120_000, 60) == self.LIMITS.file_s(0, 60)

    @pytest.mark.parametrize(("size_bytes", "claimed_s"), [(10 << 40, None), (100, 1e12), (10 << 40, 1e300)])
    def test_gets_half_a_day_whatever_it_claims(self, size_bytes, claimed_s):
        assert self.LIMITS.file_s(size_bytes, claimed_s) == 60 + 12 * HOUR_S

    @pytest.mark.parametrize("stall_s", [1, 7, 600])
    def test_may_take_ten_times_its_length_whatever_the_stall_limit(self, stall_s):
        assert DecodeLimits(stall_s=stall_s).file_s(1000, 60) == stall_s + 600


class TestLimits:
    @pytest.mark.parametrize("stall_s", [0, 0.9, -1, math.nan])
    def test_no_time_at_all_is_refused(self, stall_s):
        with pytest.raises(DataError, match="stall_s must be at least 1 seconds, got"):
            DecodeLimits(stall_s=stall_s)

    def test_memory_that_no_decoder_can_live_with_is_refused(self):
        with pytest.raises(DataError, match="memory_bytes must be at least 16000000, got 1000"):
            DecodeLimits(memory_bytes=1000)


class TestPatience:
    def test_ends_after_silence(self):
        patience = Patience(stall_s=60, file_s=1000)
        patience.waited(59.9)
        assert not patience.complaint
        patience.waited(0.1)
        assert patience.complaint == "no progress for 60 s"

    def test_starts_again_with_every_sign_of_progress(self):
        patience = Patience(stall_s=60, file_s=1000)
        for _ in range(16):
            patience.waited(59)
            patience.heard()
        assert not patience.complaint

    def test_ends_when_the_whole_file_takes_too_long_whatever_progress_there_is(self):
        patience = Patience(stall_s=60, file_s=1000)
        for _ in range(20):
            patience.waited(50)
            patience.heard()
        assert patience.complaint == "not done after 1000 s, too long for its size and length"
