"""Losses on scores and on region vectors, against values worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from visil.s2vs.losses import (
    MIN_SQUARED_DISTANCE,
    PUBLISHED_FLOOR,
    clip_info_nce,
    cosine_distillation,
    false_friends,
    hardest_negative,
    info_nce,
    koleo,
    matching_regions_nce,
    self_similarity,
    share_a_picture,
    similarity_distillation,
    similarity_regularisation,
    sscd_info_nce,
    triplet_loss,
)


class TestSimilarityRegularisation:
    RAW = torch.tensor([[-3.0, -1.0, 0.5], [1.0, 1.25, 2.0]])  # beyond [-1, 1] by 2, 0, 0 and 0, 0.25, 1

    def test_adds_up_what_the_clipping_would_cut_off(self):
        assert similarity_regularisation(self.RAW).item() == pytest.approx(3.25)

    def test_the_mean_counts_every_element(self):
        assert similarity_regularisation(self.RAW, "mean").item() == pytest.approx(3.25 / 6)

    def test_only_what_lies_beyond_the_range_has_a_gradient(self):
        raw = self.RAW.clone().requires_grad_()
        similarity_regularisation(raw).backward()
        assert raw.grad.tolist() == [[-1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]

    def test_an_unknown_reduction_is_refused(self):
        with pytest.raises(ValueError, match="sum or mean, got 'none'"):
            similarity_regularisation(self.RAW, "none")


class TestTripletLoss:
    def test_averages_what_is_missing_to_the_margin(self):
        positive, negative = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0.1, 0.4, 0.5])
        assert triplet_loss(positive, negative, 0.5).item() == pytest.approx((0.0 + 0.7 + 0.5) / 3)

    def test_well_separated_triplets_cost_nothing(self):
        assert triplet_loss(torch.ones(4, 1), -torch.ones(4, 1), 1.0).item() == 0.0

    def test_scores_that_do_not_pair_up_are_refused(self):
        with pytest.raises(ValueError, match=r"got \[4\] and \[4, 1\]"):
            triplet_loss(torch.ones(4), torch.ones(4, 1), 1.0)


def against(positive, *negatives, temperature):
    """-log of the share of a positive among itself and negatives."""
    shares = [math.exp(score / temperature) for score in (positive, *negatives)]
    return -math.log(shares[0] / sum(shares))


class TestInfoNCE:
    SCORES = torch.tensor(
        [
            [0.9, 0.4, 0.1],  # query 0: target 0 is its own, target 1 its host
            [0.2, 0.6, 0.5],  # query 1: target 1 is its own
        ]
    )
    WEIGHTS = torch.tensor([[1.0, 0.25, 0.0], [0.0, 1.0, 0.0]])
    IS_NEGATIVE = torch.tensor([[False, False, True], [True, False, True]])

    def loss(self, scores=SCORES, weights=WEIGHTS, is_negative=IS_NEGATIVE, temperature=0.5, pooled=False):
        return info_nce(scores, weights, is_negative, temperature=temperature, pooled=pooled)

    def test_positives_compete_with_negatives_and_not_with_each_other(self):
        first = (against(0.9, 0.1, temperature=0.5) + 0.25 * against(0.4, 0.1, temperature=0.5)) / 1.25
        second = against(0.6, 0.2, 0.5, temperature=0.5)
        assert self.loss().item() == pytest.approx((first + second) / 2)

    def test_pooled_positives_compete_with_the_mean_query(self):
        negatives = (math.exp(0.1 / 0.5) + math.exp(0.2 / 0.5) + math.exp(0.5 / 0.5)) / 2

        def cost(positive):
            return -math.log(math.exp(positive / 0.5) / (math.exp(positive / 0.5) + negatives))

        expected = ((cost(0.9) + 0.25 * cost(0.4)) / 1.25 + cost(0.6)) / 2
        assert self.loss(pooled=True).item() == pytest.approx(expected)

    def test_what_is_neither_has_no_part(self):
        is_negative = torch.tensor([[False, False, True], [True, False, False]])
        scores = self.SCORES.clone().requires_grad_()
        self.loss(scores, is_negative=is_negative).backward()
        assert scores.grad[1, 2] == 0
        assert (scores.grad < 0).nonzero().tolist() == [[0, 0], [0, 1], [1, 1]]

    @pytest.mark.parametrize("pooled", [False, True])
    def test_a_tiny_temperature_does_not_overflow(self, pooled):
        own = torch.eye(2, 3)
        assert self.loss(weights=own, temperature=1e-6, pooled=pooled).item() == pytest.approx(0)
        worst = self.loss(-self.SCORES, own, temperature=1e-4, pooled=pooled)
        assert 1e3 < worst.item() < math.inf

    def test_a_query_without_negatives_or_positives_is_refused(self):
        with pytest.raises(ValueError, match="a positive and a negative"):
            self.loss(weights=torch.zeros(2, 3))
        with pytest.raises(ValueError, match="a positive and a negative"):
            self.loss(is_negative=torch.zeros(2, 3, dtype=torch.bool))


class TestMatchingRegionsNCE:
    MATCHES = torch.tensor(
        [
            [[0.9, 0.3, 0.8], [0.1, 0.7, 0.2], [0.6, 0.5, 0.4]],  # [R, T] of query 0
            [[0.2, 0.1, 0.0], [0.3, 0.8, 0.1], [0.0, 0.4, 0.9]],  # of query 1
        ]
    )
    POSITIVE = torch.tensor([0, 1])
    IS_NEGATIVE = torch.tensor([[False, True, False], [True, False, True]])

    def loss(self, matches, count):
        return matching_regions_nce(matches, self.POSITIVE, self.IS_NEGATIVE, count=count, temperature=0.5)

    def test_the_best_regions_of_a_query_count_one_by_one(self):
        """Of query 0 the regions 0 and 2, against target 1; of query 1 the regions 1 and 2, against targets 0 and 2."""
        expected = [
            against(0.9, 0.3, temperature=0.5),
            against(0.6, 0.5, temperature=0.5),
            against(0.8, 0.3, 0.1, temperature=0.5),
            against(0.4, 0.0, 0.9, temperature=0.5),
        ]
        assert self.loss(self.MATCHES, 2).item() == pytest.approx(sum(expected) / 4)

    def test_regions_that_are_not_asked_for_have_no_gradient(self):
        matches = self.MATCHES.clone().requires_grad_()
        self.loss(matches, 1).backward()
        assert sorted({(query, region) for query, region, _ in matches.grad.nonzero().tolist()}) == [(0, 0), (1, 1)]


class TestSSCDInfoNCE:
    SIMILARITY = torch.tensor(
        [
            [1.0, 0.8, 0.6, 0.1],  # views 0, 1 and 2 show a picture, view 3 another one
            [0.8, 1.0, 0.5, 0.3],
            [0.6, 0.5, 1.0, 0.2],
            [0.1, 0.3, 0.2, 1.0],
        ]
    )
    IS_SAME = torch.tensor([[True] * 3 + [False]] * 3 + [[False] * 3 + [True]])

    def expected(self, row):
        """What the positives of a row cost, one by one."""
        (negative,) = (self.SIMILARITY[row, other].item() for other in range(4) if not self.IS_SAME[row, other])
        floor = 0.5 * math.log(PUBLISHED_FLOOR)  # as a negative at temperature 0.5
        positives = (self.SIMILARITY[row, other].item() for other in range(3) if other != row)
        return [against(positive, negative, floor, temperature=0.5) for positive in positives]

    def test_every_positive_of_every_view_counts_once(self):
        loss = sscd_info_nce(self.SIMILARITY, self.IS_SAME, temperature=0.5)
        assert loss.item() == pytest.approx(sum(sum(self.expected(row)) for row in range(3)) / 4)

    def test_of_mixed_pictures_the_mean_over_the_positives_of_a_view_counts(self):
        loss = sscd_info_nce(self.SIMILARITY, self.IS_SAME, temperature=0.5, mixed=True)
        assert loss.item() == pytest.approx(sum(sum(self.expected(row)) / 2 for row in range(3)) / 4)

    def test_a_view_is_no_positive_of_itself_and_nothing_lacks_a_gradient_for_it(self):
        similarity = self.SIMILARITY.clone().requires_grad_()
        sscd_info_nce(similarity, self.IS_SAME, temperature=0.01).backward()
        assert similarity.grad.isfinite().all()
        assert (similarity.grad.diagonal() == 0).all()
        assert (similarity.grad[3] == 0).all()  # it has no positive

    def test_without_negatives_only_the_floor_competes(self):
        loss = sscd_info_nce(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool), temperature=1.0)
        assert loss.item() == pytest.approx(math.log1p(PUBLISHED_FLOOR / math.e), abs=1e-7)

    def test_mixed_views_share_a_picture_where_any_share_is_of_one(self):
        shares = torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.7, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
        expected = [
            [True, True, False, False],
            [True, True, True, False],
            [False, True, True, True],
            [False, False, True, True],
        ]
        assert share_a_picture(shares).tolist() == expected


class TestClipInfoNCE:
    SIMILARITY = torch.tensor([[1.0, 0.8, 0.3, 0.6], [0.7, 1.0, 0.2, 0.1], [0.4, 0.5, 1.0, 0.9], [0.0, 0.1, 0.2, 1.0]])
    IS_POSITIVE = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    IS_NEGATIVE = torch.tensor([[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]]).bool()

    def loss(self, similarity=SIMILARITY):
        return clip_info_nce(similarity, self.IS_POSITIVE, self.IS_NEGATIVE, temperature=0.5)

    def test_the_mean_over_positives_then_over_clips_that_have_one(self):
        floor = 0.5 * math.log(PUBLISHED_FLOOR)
        first = (against(0.8, 0.3, floor, temperature=0.5) + against(0.6, 0.3, floor, temperature=0.5)) / 2
        second = against(0.7, 0.2, floor, temperature=0.5)
        last = against(0.0, floor, temperature=0.5)
        assert self.loss().item() == pytest.approx((first + second + last) / 3)

    def test_what_is_neither_has_no_part(self):
        similarity = self.SIMILARITY.clone().requires_grad_()
        self.loss(similarity).backward()
        has_part = self.IS_POSITIVE | self.IS_NEGATIVE
        has_part[2] = False  # a clip without a positive
        assert (similarity.grad != 0).equal(has_part)

    def test_a_batch_without_positives_costs_nothing(self):
        nothing = torch.zeros(2, 2, dtype=torch.bool)
        assert clip_info_nce(torch.ones(2, 2), nothing, ~nothing, temperature=0.03) == 0


class TestSSHN:
    SIMILARITY = torch.tensor([[0.9, 0.8, 0.3], [0.4, 0.0, 0.2], [1.0, 0.1, 0.5]])

    def test_the_most_alike_negative_is_driven_to_0(self):
        is_negative = torch.tensor([[0, 1, 1], [0, 0, 0], [1, 1, 0]]).bool()
        expected = -(math.log(1 - 0.8) + math.log(1e-3)) / 2  # of the last clip it is 1
        assert hardest_negative(self.SIMILARITY, is_negative).item() == pytest.approx(expected)

    def test_of_equal_negatives_one_has_the_gradient(self):
        similarity = torch.full((2, 2), 0.5, requires_grad=True)
        hardest_negative(similarity, torch.ones(2, 2, dtype=torch.bool)).backward()
        assert (similarity.grad != 0).sum(dim=1).tolist() == [1, 1]

    def test_without_negatives_it_costs_nothing(self):
        assert hardest_negative(self.SIMILARITY, torch.zeros(3, 3, dtype=torch.bool)) == 0

    def test_the_score_of_a_clip_with_itself_is_driven_to_1(self):
        expected = -(math.log(0.9) + math.log(1e-3) + math.log(0.5)) / 3
        assert self_similarity(self.SIMILARITY).item() == pytest.approx(expected)


class TestKoLeo:
    VECTORS = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])  # distances 0-1: √0.4, 1-2: √3.6, 0-2: 2
    EVERY_OTHER = ~torch.eye(3, dtype=torch.bool)

    def test_the_mean_logarithm_of_distances_to_the_nearest(self):
        expected = -(math.log(math.sqrt(0.4)) * 2 + math.log(math.sqrt(3.6))) / 3
        assert koleo(self.VECTORS, self.EVERY_OTHER).item() == pytest.approx(expected, rel=1e-5)

    def test_what_shows_the_same_is_no_neighbour(self):
        is_other = torch.tensor([[False, False, True], [False, False, True], [True, True, False]])
        expected = -(math.log(2) + 2 * math.log(math.sqrt(3.6))) / 3
        assert koleo(self.VECTORS, is_other).item() == pytest.approx(expected, rel=1e-5)

    def test_a_row_without_any_other_is_left_out(self):
        is_other = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
        assert koleo(self.VECTORS, is_other).item() == pytest.approx(-math.log(math.sqrt(0.4)), rel=1e-5)
        assert koleo(self.VECTORS, torch.zeros(3, 3, dtype=torch.bool)).item() == 0

    def test_the_gradient_moves_both_of_a_pair_and_only_turns_them(self):
        vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8]], requires_grad=True)
        koleo(vectors, ~torch.eye(2, dtype=torch.bool)).backward()
        turned = vectors.detach().flip(0) / (2 - 2 * 0.6)  # of a pair that is nearest for both: 2 · 1/2 of it
        torch.testing.assert_close(vectors.grad, turned)

    def test_equal_vectors_cost_much_and_not_infinitely(self):
        vectors = torch.ones(2, 4).div(2).requires_grad_()
        loss = koleo(vectors, ~torch.eye(2, dtype=torch.bool))
        assert loss.item() == pytest.approx(-math.log(MIN_SQUARED_DISTANCE) / 2)
        loss.backward()
        assert vectors.grad.isfinite().all()


def test_cosine_distillation_is_the_mean_distance_from_cosine_1():
    student = torch.tensor([[[3.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [-5.0, 0.0]]])
    teacher = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]]])
    assert cosine_distillation(student, teacher).item() == pytest.approx((0 + 1 + 1 - math.sqrt(0.5) + 2) / 4)
    assert cosine_distillation(student, F.normalize(student, dim=-1)).item() == pytest.approx(0, abs=1e-6)


def unit(*shape, seed):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


class TestSimilarityDistillation:
    BANK = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    OTHERS = torch.tensor([[True, True, False]])

    def test_by_hand(self):
        """Teacher on the first axis, student on the second, T = 1: both are softmax(1, 0), in either order."""
        loss = similarity_distillation(self.BANK[1:2], self.BANK[:1], self.BANK, self.OTHERS, temperature=1.0)
        high, low = math.e / (math.e + 1), 1 / (math.e + 1)
        assert loss.item() == pytest.approx((high - low) * math.log(high / low))

    def test_the_teacher_is_right_and_the_student_is_not(self):
        """Of the two directions of the divergence it is the one that asks for all that the teacher finds alike."""
        teacher, student = self.BANK[2:], self.BANK[1:2]
        everything = torch.ones(1, 3, dtype=torch.bool)
        wanted, found = ((side @ self.BANK.T / 0.5).softmax(dim=1) for side in (teacher, student))
        expected = (wanted * (wanted / found).log()).sum()
        loss = similarity_distillation(student, teacher, self.BANK, everything, temperature=0.5)
        torch.testing.assert_close(loss, expected)
        assert (found * (found / wanted).log()).sum() != pytest.approx(expected.item(), rel=1e-3)

    def test_it_is_the_mean_over_the_pictures(self):
        student, teacher, bank = unit(3, 8, seed=0), unit(3, 8, seed=1), unit(9, 8, seed=2)
        is_other = torch.rand(3, 9, generator=torch.Generator().manual_seed(3)) < 0.7
        each = [
            similarity_distillation(
                *(x[i : i + 1] for x in (student, teacher)), bank, is_other[i : i + 1], temperature=0.1
            )
            for i in range(3)
        ]
        whole = similarity_distillation(student, teacher, bank, is_other, temperature=0.1)
        torch.testing.assert_close(whole, torch.stack(each).mean())

    def test_a_student_that_says_the_same_loses_nothing(self):
        teacher, bank = unit(3, 8, seed=1), unit(9, 8, seed=2)
        everything = torch.ones(3, 9, dtype=torch.bool)
        loss = similarity_distillation(teacher, teacher, bank, everything, temperature=0.1)
        assert loss.item() == pytest.approx(0, abs=1e-6)

    def test_what_shows_the_same_has_no_say(self):
        student = self.BANK[1:2].clone().requires_grad_()
        bank = self.BANK.clone().requires_grad_()
        similarity_distillation(student, self.BANK[:1], bank, self.OTHERS, temperature=1.0).backward()
        assert student.grad.abs().sum() > 0
        assert bank.grad[2].abs().sum() == 0


class TestFalseFriends:
    STUDENT, TEACHER = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    BANK = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [-1.0, 0.0]])

    def test_by_hand(self):
        """The two highest of others: 0.8 where the teacher says 0.6, 0.6 where it says 0.8."""
        is_other = torch.tensor([[False, True, True, True]])
        loss = false_friends(self.STUDENT, self.TEACHER, self.BANK, is_other, count=2)
        assert loss.item() == pytest.approx(0.2**2 + 0.2**2)

    def test_what_shows_the_same_is_not_held_against_it(self):
        everything = torch.ones(1, 4, dtype=torch.bool)
        loss = false_friends(self.STUDENT, self.TEACHER, self.BANK, everything, count=1)
        assert loss.item() == pytest.approx(1.0)

    def test_only_the_highest_are_moved(self):
        student = self.STUDENT.clone().requires_grad_()
        is_other = torch.tensor([[False, True, True, True]])
        false_friends(student, self.TEACHER, self.BANK, is_other, count=1).backward()
        torch.testing.assert_close(student.grad, 2 * (0.8 - 0.6) * self.BANK[1:2])
